"""What the shell completes: verbs, options, and values of this project: formats, quantization types, tags, runs.

It runs at each press of a key, so nothing heavy is imported, and the policy is read without being checked. What cannot
be read completes nothing: there is nobody to tell.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from invoke.parser import Argument, ParserContext

# Scripts of shells expand what they are given: nothing that could be a command is ever offered.
_HARMLESS = re.compile(r"[\w.+/@=-]+")
# Tags, newest first, that are looked through; seconds that git gets.
_MOST, _SECONDS = 500, 2
# The verbs whose name is of what is not there yet.
_NEW = ("tag",)


def candidates(line: str, verbs: Mapping[str, ParserContext], own: ParserContext) -> list[str]:
    """What may stand in place of the last word of a command line, which begins with the program. The line ends with a
    space where the last word is not begun yet; scripts of Invoke's own leave that out, so that a whole word may be
    followed by another one, too."""
    words = [word for word in line.split()[1:] if word != "="]
    begun = "" if line.endswith(" ") or not words else words.pop()
    found = [word for word in _next(words, verbs, own) if word.startswith(begun)]
    if begun in verbs or begun in found:
        found += _next([*words, begun], verbs, own)
    return [word for word in dict.fromkeys(found) if _HARMLESS.fullmatch(word)]


def _next(words: Sequence[str], verbs: Mapping[str, ParserContext], own: ParserContext) -> list[str]:
    """What may follow whole words."""
    context, waits, taken = own, None, False
    for word in words:
        if waits:
            waits = None
        elif word in verbs:
            context, taken = verbs[word], False
        elif word in context.flags:
            waits = context.flags[word] if context.flags[word].takes_value else None
        else:
            taken = True
    if waits:
        return _values(waits, words)
    flags = [flag for flag in context.flags if flag.startswith("--") and flag != "--complete"]
    if context is own:
        return [*verbs, *flags]
    words_of_its_own = [] if taken or context.name in _NEW else context.positional_args
    return [*(value for each in words_of_its_own for value in _values(each, words)), *flags]


def _values(argument: Argument, words: Sequence[str]) -> list[str]:
    list_values = _VALUES.get(argument.name)
    if list_values is None:
        return []
    with suppress(OSError, ValueError, TypeError, AttributeError, subprocess.SubprocessError, RecursionError):
        return list(list_values(_policy_file(words)))
    return []


def _policy_file(words: Sequence[str]) -> Path:
    given = [after for word, after in pairwise(words) if word == "--config"]
    return Path(given[-1] if given else "release.toml").absolute()


def _policy(file: Path) -> dict[str, Any]:
    import tomli

    return tomli.loads(file.read_text(encoding="utf-8"))


def _formats(file: Path) -> Iterable[str]:
    return _policy(file)["formats"]


def _quants(file: Path) -> Iterable[str]:
    from tagship.gguf.quant_mix import QUANTS
    from tagship.weights.schemes import SCHEMES

    return (*QUANTS, *SCHEMES)


def _streams(file: Path) -> Iterable[str]:
    return _policy(file).get("tags", ("semantic", "model", "export"))


def _tags(file: Path) -> Iterable[str]:
    # Not by GitPython, which takes longer to import than git to answer.
    command = ["git", "for-each-ref", f"--count={_MOST}", "--sort=-creatordate", "--format=%(refname:strip=2)"]
    done = subprocess.run(
        [*command, "refs/tags"], cwd=file.parent, capture_output=True, text=True, timeout=_SECONDS, check=True
    )
    return done.stdout.split()


def _runs(file: Path) -> Iterator[str]:
    from tagship.runs.places import RunPlaces
    from tagship.weights.adapter_config import CONFIG_FILE

    places = RunPlaces.of(file.parent / _policy(file).get("project", {}).get("runs", "adapters"))
    found = [path for path in places.folders() if (path / CONFIG_FILE).is_file()]
    newest_first = sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    # Deeper ones are checkpoints: the run that they are of is asked for.
    return (path.parent.name if len(places.parts) > 1 else path.name for path in newest_first)


_VALUES: Mapping[str, Callable[[Path], Iterable[str]]] = {
    "format": _formats,
    "quant": _quants,
    "stream": _streams,
    "tag": _tags,
    "to": _tags,
    "run": _runs,
    "name": _runs,
    "part": lambda _: ("major", "minor", "patch"),
    "hub": lambda _: ("embedded", "https://huggingface.co"),
}

# Each passes the line up to the cursor, with an empty word where the next one is not begun; the rest are file names.
SCRIPTS: Mapping[str, str] = {
    "bash": """\
_complete_{program}() {{
    local found current="${{COMP_WORDS[COMP_CWORD]}}"
    COMPREPLY=()
    while IFS= read -r found; do
        [[ -n $found && $found == "$current"* ]] && COMPREPLY+=("$found")
    done < <({program} --complete -- "${{COMP_WORDS[@]:0:COMP_CWORD+1}}" 2>/dev/null)
}}
complete -o default -F _complete_{program} {program}
""",
    "zsh": """\
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
_complete_{program}() {{
    local -a found
    found=(${{(f)"$({program} --complete -- "${{(@)words[1,CURRENT]}}" 2>/dev/null)"}})
    if (( $#found )); then compadd -- $found; else _files; fi
}}
compdef _complete_{program} {program}
""",
    "fish": """\
function __complete_{program}
    set -l current (commandline --current-token --cut-at-cursor)
    {program} --complete -- (commandline --tokenize --cut-at-cursor) "$current" 2>/dev/null
end
complete --command {program} --no-files --arguments '(__complete_{program})'
for option in auth config output path root
    complete --command {program} --long-option $option --require-parameter --force-files
end
""",
}

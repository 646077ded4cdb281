"""A release of the adapter as a GGUF: run by llama.cpp beside a GGUF of the base, and published."""

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project


def test_release(project: Project) -> None:
    """It answers as base + adapter does, the evidence says beside what, and the card how it is used."""
    policy = project.folder / "release.toml"
    policy.write_text(policy.read_text() + '\n[formats.lora-gguf]\nquants = ["f16", "q8_0"]\n')
    done = project.invoke("release", "--format", "lora-gguf", "--at", AT, "--json")
    assert done.code == 0, done.stderr
    plain, eight = done.document["formats"]
    assert plain["repo_id"] == f"acme/{NEWEST_RUN}-f16-lora-gguf-{AT}"
    for released in (plain, eight):
        evidence = released["verified"]
        assert evidence["outcome"] == "passed" and evidence["runtime"].endswith("), on the base as a GGUF in bf16")
        assert evidence["same"] == evidence["prompts"]
    folder = project.folder / "exports" / f"{NEWEST_RUN}-lora-gguf-{AT}"
    card = (folder / "README.md").read_text()
    assert "base_model_relation: adapter" in card and "base_model: acme/phi3avro" in card
    assert f"llama-server --model phi3avro.gguf --lora {NEWEST_RUN}-LoRA-float16.gguf" in card
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".svg") == [
        "Modelfile",
        "README.md",
        f"{NEWEST_RUN}-LoRA-float16.gguf",
        "release.json",
    ]
    assert not list((project.folder / "exports").glob(".*"))  # the base's GGUF is gone
    audited = project.invoke("audit", "--repo", eight["repo_id"], "--json")
    assert audited.code == 0, audited.stdout

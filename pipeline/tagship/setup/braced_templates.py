"""Templates of texts that have braces of their own, such as workflows and patterns of names: `<< >>` and `<% %>`."""

import jinja2

from tagship.system.templating import shipped_folder


def braced_templates(folder: str) -> jinja2.Environment:
    """The shipped templates of a folder."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped_folder() / folder),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
    )

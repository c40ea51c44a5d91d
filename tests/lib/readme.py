"""What README.md takes from the programs, and what it promises of them. `python3 -m tests.lib.readme` brings the former up to date."""

import collections
import re
import subprocess

from tests.lib.hub import BUILD, REPO

README = REPO / "README.md"

# What an answer in a console block may say in place of what varies.
PLACEHOLDERS = {
    "<date>": r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "<identity>": r"[0-9a-f]{32}",
}

Example = collections.namedtuple("Example", "line command answer")


def examples(text):
    """The commands of all console blocks, in order, each with its answer."""
    found, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append(Example(number, line[2:], []))
        elif inside:
            found[-1].answer.append(line)
    return found


def pattern(answer):
    """A regular expression for an answer, its placeholders resolved."""
    parts = re.split("(" + "|".join(map(re.escape, PLACEHOLDERS)) + ")", "\n".join(answer).rstrip())
    return "".join(PLACEHOLDERS.get(part, re.escape(part)) for part in parts)


def program_help(program, *words):
    return subprocess.run([BUILD / program, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def generated(kind, program):
    if kind == "settings":
        return program_help(program, "--help=markdown")
    text = program_help(program, "--help")
    return "```text\n" + text[text.index("Exit codes"):].rstrip() + "\n```\n"


def with_generated(text):
    """README's text with its generated parts as the programs are now."""
    return re.sub(r"(<!-- (settings|epilog) (\S+) -->\n).*?(<!-- end -->)",
                  lambda found: found[1] + generated(found[2], found[3]) + found[4], text, flags=re.S)


if __name__ == "__main__":
    README.write_text(with_generated(README.read_text()))

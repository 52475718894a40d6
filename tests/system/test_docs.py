"""The documents name what exists: each file, flag, rpc, field and drop reason is in the code.

Reads the READMEs' `code words` and fenced command lines; needs no daemon. A word is judged by its
shape, and one that has no shape known here is left alone: prose is for people to check.
"""

import functools
import re
import subprocess

import pytest

from tests.lab.vmqd import BUILD, ROOT

DOCUMENTS = ["README.md", "daemon/README.md", "daemon/vmq/README.md", "bpf/README.md",
             "proto/README.md"]
CODE = {".cc", ".h", ".c", ".proto", ".py", ".txt", ".json", ".service", ".yaml", ".cmake", ".in",
        ".sysusers", ""}
SKIPPED = {"build", ".git", ".cache", "__pycache__"}
# Not vmqd's: what the kernel, the tools and the standards call things.
FOREIGN_FLAGS = {"--preset", "--build", "--install", "--prefix", "--user", "--net", "--now"}
FILE_ENDINGS = r"\.(?:cc|h|c|proto|py|md|txt|json|service|yaml|o)"
PATH = re.compile(r"(?:[\w.{},*-]+/)+[\w.{},*-]*|[\w-]+" + FILE_ENDINGS)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
RPC = re.compile(r"\b(?:Create|Get|List|Update|Delete)[A-Z]\w+\b")
SNAKE = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")
PASCAL = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")
RESOURCES = ("uplinks/", "ports/", "unix:", "/", "etc/", "ipv4", "http")


@functools.cache
def code():
    """All source text, documents excluded."""
    texts = []
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT)
        if path.is_file() and not SKIPPED & set(inside.parts) and path.suffix in CODE:
            if path.name != "test_docs.py":
                texts.append(path.read_text(errors="replace"))
    return "\n".join(texts)


@functools.cache
def words(document):
    """(inline code words, fenced lines)."""
    text = (ROOT / document).read_text()
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", rest), "\n".join(fenced).splitlines()


def exists(document, path):
    """From the root or from the document's folder; {a,b} and * as a shell has them. A bare file
    name is that of a file somewhere."""
    match = re.search(r"\{([^}]*)\}", path)
    if match:
        return all(exists(document, path[:match.start()] + option.strip() + path[match.end():])
                   for option in match.group(1).split(","))
    if "/" not in path:
        return any(not SKIPPED & set(found.relative_to(ROOT).parts) for found in ROOT.rglob(path))
    roots = (ROOT, (ROOT / document).parent)
    return any(list(root.glob(path.rstrip("/"))) for root in roots)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_exist(document):
    inline, fenced = words(document)
    named = {word for word in inline if PATH.fullmatch(word) and not word.startswith(RESOURCES)}
    named |= {word for line in fenced for word in line.split()
              if re.fullmatch(r"(?:deploy|tests|build)/[\w./-]+", word)}
    named = {word for word in named if not word.startswith("build/")}
    assert not {word for word in named if not exists(document, word)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_exist(document):
    text = (ROOT / document).read_text()
    targets = {target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    local = {target for target in targets if target and "://" not in target}
    assert not {target for target in local if not exists(document, target)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_exist(document):
    inline, fenced = words(document)
    ours = [line for line in fenced if re.search(r"vmqd|tests/run|deploy/", line)]
    named = {flag for text in inline + ours for flag in FLAG.findall(text)} - FOREIGN_FLAGS
    unknown = {flag for flag in named if f"{flag}" not in code() and f"no-{flag[2:]}" not in code()}
    assert not unknown


@pytest.mark.parametrize("document", DOCUMENTS)
def test_rpcs_exist(document):
    inline, _ = words(document)
    proto = (ROOT / "proto/vmqd/v1/vmqd.proto").read_text()
    named = {rpc for text in inline for rpc in RPC.findall(text)}
    assert not {rpc for rpc in named if not re.search(rf"\b{rpc}\b", proto + code())}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_identifiers_exist(document):
    """snake_case and PascalCase words: fields, maps, reasons, functions, classes."""
    inline, _ = words(document)
    named = {word for word in inline if SNAKE.fullmatch(word) or PASCAL.fullmatch(word)}
    assert not {word for word in named if not re.search(rf"\b{word}\b", code())}


def test_simulator_table():
    """The balancer's table is what the simulator prints now."""
    printed = subprocess.run([BUILD / "tests/bench/vmqd_bench_simulator"], check=True, text=True,
                             capture_output=True, timeout=300).stdout
    assert printed.count("\n") > 20
    assert printed in (ROOT / "daemon/vmq/README.md").read_text()


def test_folder_table_is_complete():
    """Every folder of the first level is in the README's table."""
    text = (ROOT / "README.md").read_text()
    folders = {path.name for path in ROOT.iterdir()
               if path.is_dir() and not path.name.startswith(".") and path.name not in SKIPPED}
    assert not {folder for folder in folders if f"`{folder}/`" not in text}

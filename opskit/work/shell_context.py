"""Where in a shell command a value would stand: as a word of its own, or where quotes could not hold.

A scanner of POSIX sh and of what bash adds, for the one question of templates: is a quoted word one argument here? It
reads the literal text with a HOLE for each value. What it can't follow surely in sh, dash, bash and busybox alike makes
it give up: from there on no value may stand that needs quotes. A value never changes what follows it, because it is
either quoted or made of harmless characters; where even those could, as in the last line of a here-document, it gives
up too, and `opskit.work.quoting.ending_documents` looks at what is filled in. What a program does with its argument
(`eval`, `sh -c`, `let`, `ssh`) is the program's.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

HOLE = "\0"
"""Stands for a value in the scanned text; no command can hold it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What may stand at one hole.

    Attributes:
        place: Where it is, such as `inside double quotes`, if a quoted word can't stand there; else empty.
        empty: Whether an empty value may become nothing at all; else it needs quotes.
        bare: Whether a harmless word may go without quotes.
    """

    place: str = ""
    empty: bool = False
    bare: bool = True


def contexts(text: str) -> list[Context]:
    """The context of each HOLE in a command, in order."""
    scanner = _Scanner(text)
    try:
        scanner.command(inside=False)
    except _CannotFollow as reason:
        line = text.count("\n", 0, scanner.at) + 1
        lost = Context(f"after {reason} in line {line}, from where opskit can't tell how a shell reads on")
        scanner.found += [lost] * (text.count(HOLE) - len(scanner.found))
    return scanner.found


class _CannotFollow(Exception):  # noqa: N818 - no error: it ends the scan
    """What comes next may be read in more than one way."""


_BLANKS = " \t\n"
_BREAKS = _BLANKS + ";&|<>()"
_NESTING = 20

# $name, $1, $$, $# and so on, ${name}, ${#name}: nothing in them can be taken for anything else.
_PARAMETER = re.compile(r"\$(?:\w+|[@*#?$!-]|\{[#!]?(?:\w+|[@*#?$!-])\})", re.ASCII)
_IN_ARITHMETIC = frozenset(string.ascii_letters + string.digits + "_+-*/%<>=!&|^~?:, \t")
_IN_OLD_ARITHMETIC = frozenset(string.ascii_letters + string.digits + "_+-*/% ")
_IN_PARAMETER = frozenset(string.printable) - frozenset("'\"\\`$(){<>\n\r\v\f") | {" ", "\t"}
_DELIMITER = re.compile(
    r"(?P<dash>-?)[ \t]*(?:'(?P<single>[^'\n\0]+)'|\"(?P<double>[^\"\n$`\\\0]+)\"|(?P<escaped>\\?)(?P<word>[\w.%+-]+))"
    r"(?=[ \t\n;&|<>()]|\Z)",
    re.ASCII,
)
_CLOSED_EXPANSION = re.compile(
    r"\\.|\$\(\([\w\s+*/%-]*\)\)|\$\((?![^)]*case)[^(){}'\"`\\#<\n\0]*\)|`[^`\\#<\0]*`|\$\{[^{}'\"`\\$\0]*\}", re.ASCII
)
_OPEN_EXPANSION = re.compile(r"\$[({]|`|\\\Z")
_SUBSCRIPT = re.compile(r"[\w\0]+\[(?![\w\0$@*]*\])", re.ASCII)
# Where even a harmless value must be quoted to be itself: in {a,b}, as the end of a $name, as the number of a <.
_SENSITIVE_BEFORE = re.compile(r"(?<!\$)\{|\$\w*\0*\Z", re.ASCII)
_SENSITIVE_AFTER = re.compile(r"[0-9\0]*[<>]")


@dataclass(frozen=True, slots=True)
class _HereDocument:
    delimiter: str
    strips_tabs: bool
    literal: bool


@dataclass(slots=True)
class _Reading:
    """How far the commands of one level are read."""

    inside: bool  # a substitution
    start: int | None = None  # of the word that is being read
    in_test: bool = False  # between [[ and ]]
    parentheses: int = 0
    ended: bool = False


class _Scanner:
    """Reads the text once, from left to right, noting the context of each hole."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: list[Context] = []
        self._nesting = 0
        self._documents: list[_HereDocument] = []
        self._documents_from = 0

    def command(self, *, inside: bool) -> None:
        """Read commands to the end of the text; `inside` a substitution, past the `)` that ends it."""
        self._nesting += 1
        if self._nesting > _NESTING:
            raise _CannotFollow("deeply nested substitutions")
        reading = _Reading(inside)
        while self.at < len(self.text) and not reading.ended:
            character = self.text[self.at]
            if character in _BREAKS:
                self._break(character, reading)
            elif character == "#" and reading.start is None:
                self._comment(reading)
            elif self.text.startswith("\\\n", self.at):
                self._carried_over(reading)
            else:
                if reading.start is None:
                    reading.start = self.at
                self._part_of_word(character, reading)
        self._nesting -= 1

    def _break(self, character: str, reading: _Reading) -> None:
        """Read what stands between words, or a `<( )` inside one."""
        if character in "<>" and self.text.startswith("(", self.at + 1):
            if reading.start is None:
                reading.start = self.at
            self.at += 2
            self.command(inside=True)
            return
        word = self._end_of_word(reading)
        if character == "(":
            self._open_parenthesis(word, reading)
        elif character == ")":
            self.at += 1
            reading.ended = reading.inside and reading.parentheses == 0
            reading.parentheses -= 1
        elif self._take("<<<"):
            pass
        elif self._take("<<"):
            self._here_document(reading)
        elif character == "\n":
            self._end_of_line(reading)
        else:
            self.at += 1

    def _take(self, expected: str) -> bool:
        if not self.text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def _hole(self, place: str, *, empty: bool = False, bare: bool = True) -> None:
        self._expect_one_line()
        self.found.append(Context(place, empty, bare))
        self.at += 1

    def _part_of_word(self, character: str, reading: _Reading) -> None:
        if character == HOLE:
            self._plain_hole(reading)
        elif character == "'":
            self._single_quotes()
        elif character == '"':
            self._double_quotes()
        elif character == "`":
            self._backticks()
        elif character == "\\":
            self._backslash()
        elif character == "$":
            self._dollar(quoted=False)
        else:
            self.at += 1

    def _plain_hole(self, reading: _Reading) -> None:
        before = self.text[reading.start : self.at]
        if reading.in_test:
            self._hole("inside [[ ]]")
        elif _SUBSCRIPT.match(before):
            self._hole("inside the [ ] of an array")
        else:
            sensitive = _SENSITIVE_BEFORE.search(before) or _SENSITIVE_AFTER.match(self.text, self.at + 1)
            self._hole("", bare=not sensitive and not (reading.inside and before.endswith(HOLE)))

    def _end_of_word(self, reading: _Reading) -> str:
        word = "" if reading.start is None else self.text[reading.start : self.at]
        if reading.inside and word.strip(HOLE) and _could_be(word, "case"):
            raise _CannotFollow("a `case` inside a substitution")
        if _SUBSCRIPT.match(word):
            raise _CannotFollow("an open `[`")
        reading.in_test = word == "[[" or (reading.in_test and word != "]]")
        reading.start = None
        return word

    def _open_parenthesis(self, word: str, reading: _Reading) -> None:
        if word:
            # A function's () and nothing else: in an array's ( ) and in patterns bash reads words in ways of their own.
            if not self._take("()"):
                raise _CannotFollow("a `(` inside a word")
        elif self._take("(("):
            self._arithmetic("inside (( ))", _IN_ARITHMETIC | {";"})
        else:
            self.at += 1
            reading.parentheses += 1

    def _comment(self, reading: _Reading) -> None:
        if reading.inside:
            raise _CannotFollow("a comment inside a substitution")
        while self.at < len(self.text) and self.text[self.at] != "\n":
            if self.text[self.at] == HOLE:
                self._hole("inside a comment", empty=True)
            else:
                self.at += 1

    def _carried_over(self, reading: _Reading) -> None:
        """Read a backslash at a line's end; what it joins must not depend on it."""
        before, after = self.text[self.at - 1 : self.at], self.text[self.at + 2 : self.at + 3]
        if reading.start is not None or before in ("<", ">", "(", ")") or after == "#":
            raise _CannotFollow("a word that a backslash carries over to the next line")
        self.at += 2

    def _backslash(self) -> None:
        self.at += 1
        if self.text[self.at : self.at + 1] == HOLE:
            self._hole("right after a backslash")
        else:
            self.at += 1

    def _single_quotes(self, *, escapes: bool = False) -> None:
        self.at += 1
        while self.at < len(self.text):
            character, before = self.text[self.at], self.text[self.at - 1]
            if character == HOLE:
                self._hole("inside single quotes", empty=not (escapes and before == "\\"))
                continue
            if character == "'":
                if escapes and before == "\\":
                    raise _CannotFollow("a `\\'` inside $' '")
                self.at += 1
                return
            self.at += 1

    def _double_quotes(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == HOLE:
                self._hole("inside double quotes", empty=True)
            elif character == '"':
                self.at += 1
                return
            elif character == "\\":
                self._backslash()
            elif character == "`":
                self._backticks()
            elif character == "$":
                self._dollar(quoted=True)
            else:
                self.at += 1

    def _backticks(self) -> None:
        """Shells look for the next backtick alone, whatever quotes there are; only some skip comments."""
        self.at += 1
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\\" and self.text[self.at + 1 : self.at + 2] != HOLE:
                self.at += 2
            elif character == HOLE:
                self._hole("inside backticks")
            elif character == "#" and self.text[self.at - 1] in _BREAKS + "`":
                raise _CannotFollow("a comment inside backticks")
            else:
                self.at += 1
                if character == "`":
                    return

    def _dollar(self, *, quoted: bool) -> None:
        if simple := _PARAMETER.match(self.text, self.at):
            self.at = simple.end()
        elif self._take("$(("):
            self._arithmetic("inside $(( ))", _IN_ARITHMETIC | {"#", "\n"})
        elif self._take("$("):
            self.command(inside=True)
        elif self._take("${"):
            self._parameter()
        elif self._take("$["):
            self._old_arithmetic()
        elif not quoted and self.text.startswith("$'", self.at):
            self.at += 1
            self._single_quotes(escapes=True)
        elif self._take("$\\\n"):
            raise _CannotFollow("a `$` at the end of a line that a backslash carries over")
        else:
            self.at += 1
            if self.text[self.at : self.at + 1] == HOLE:
                self._hole("right after a `$`")

    def _arithmetic(self, place: str, allowed: frozenset[str]) -> None:
        """Read to the `))`; anything that a shell without (( )) could read in another way ends the scan."""
        parentheses = 0
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == HOLE:
                self._hole(place)
            elif character == ")" and parentheses == 0:
                if not self._take("))"):
                    raise _CannotFollow("a `((` that no `))` ends")
                return
            elif self.text.startswith("<<", self.at) and "#" not in allowed:
                raise _CannotFollow(f"a `<<` {place}")
            elif simple := _PARAMETER.match(self.text, self.at):
                self.at = simple.end()
            elif character in "()" or character in allowed:
                parentheses += {"(": 1, ")": -1}.get(character, 0)
                self.at += 1
            else:
                raise _CannotFollow(f"a `{character}` {place}")

    def _parameter(self) -> None:
        if self.text[self.at : self.at + 1] in (" ", "\t", "\n", "|"):
            raise _CannotFollow("a command inside ${ }")
        self._to_closing("}", "inside ${ }", _IN_PARAMETER)

    def _old_arithmetic(self) -> None:
        self._to_closing("]", "inside $[ ]", _IN_OLD_ARITHMETIC)

    def _to_closing(self, closing: str, place: str, allowed: frozenset[str]) -> None:
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == HOLE:
                self._hole(place)
            elif self._take(closing):
                return
            elif simple := _PARAMETER.match(self.text, self.at):
                self.at = simple.end()
            elif character in allowed:
                self.at += 1
            else:
                raise _CannotFollow(f"a `{character}` {place}")

    def _here_document(self, reading: _Reading) -> None:
        if reading.inside:
            raise _CannotFollow("a here-document inside a substitution")
        match = _DELIMITER.match(self.text, self.at)
        if match is None:
            raise _CannotFollow("a here-document whose end is no plain word")
        if not self._documents:
            self._documents_from = self.at
        self._documents.append(
            _HereDocument(
                delimiter=match["single"] or match["double"] or match["word"],
                strips_tabs=bool(match["dash"]),
                literal=match["word"] is None or bool(match["escaped"]),
            )
        )
        self.at = match.end()

    def _expect_one_line(self) -> None:
        """Shells differ where the line that announces a here-document goes on over a line break."""
        if self._documents and "\n" in self.text[self._documents_from : self.at]:
            raise _CannotFollow("a line break between a here-document's announcement and its text")

    def _end_of_line(self, reading: _Reading) -> None:
        """Read a line break, and the here-documents that the line before announced."""
        self._expect_one_line()
        self.at += 1
        if self._documents and reading.inside:
            raise _CannotFollow("a line break inside a substitution on the line that announces a here-document")
        documents, self._documents = self._documents, []
        for document in documents:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                line = self.text[self.at : end if end >= 0 else None]
                if self._body_line(line, document):
                    break

    def _body_line(self, line: str, document: _HereDocument) -> bool:
        """Read one line of a here-document; tell whether it was the last."""
        compared = line.lstrip("\t") if document.strips_tabs else line
        for index, character in enumerate(line):
            if character == HOLE:
                self.found.append(Context("inside a here-document", empty=line[index - 1 : index] not in ("$", "\\")))
        if compared != document.delimiter and _could_be(compared, document.delimiter):
            raise _CannotFollow("a line of a here-document that a value could make its last")
        if not document.literal and _OPEN_EXPANSION.search(_CLOSED_EXPANSION.sub("", line)):
            raise _CannotFollow("an expansion that goes on over lines of a here-document")
        self.at += len(line) + 1
        return compared == document.delimiter


def _could_be(text: str, word: str) -> bool:
    """Whether some values in its holes make `text` this word."""
    return re.fullmatch(".*".join(map(re.escape, text.split(HOLE))), word) is not None

"""Reads the part of Go's templates that the chart is written in, as far as the chart goes and no further.

Helm is not among the packages that the tests can fetch, so the chart is rendered by this. Whatever it does not know is an
error, never skipped: a chart that this renders uses nothing but what is written here, as Helm documents it.
"""

import hashlib
import json
import re

import yaml

TAG = re.compile(r"\{\{(-?)\s*(/\*.*?\*/|.*?)\s*(-?)\}\}", re.S)
TOKEN = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*")|(`[^`]*`)|(:=|=|\||\(|\))|(-?\d+(?:\.\d+)?)|([$.\w][\w$.]*))""")


class Wrong(Exception):
    """What the template says cannot be done."""


def parse(text, name):
    """A list of nodes: text, expressions and blocks."""
    pieces, at, trim = [], 0, False
    for tag in TAG.finditer(text):
        before = text[at : tag.start()]
        if trim:
            before = before.lstrip()
        pieces.append(("text", before.rstrip() if tag[1] else before))
        if not tag[2].startswith("/*"):
            pieces.append(("tag", tag[2]))
        at, trim = tag.end(), bool(tag[3])
    rest = text[at:]
    pieces.append(("text", rest.lstrip() if trim else rest))
    body, end, _ = block(pieces, 0, name)
    if end is not None:
        raise Wrong(f"{name}: `{end}` closes nothing")
    return body


def block(pieces, at, name):
    """Nodes up to the `end` or `else` that closes them, that word, and what comes after it."""
    nodes = []
    while at < len(pieces):
        kind, text = pieces[at]
        at += 1
        if kind == "text":
            nodes.append(("text", text))
            continue
        word, _, rest = text.partition(" ")
        if word == "end" or word == "else":
            return nodes, text, at
        if word in ("if", "range", "with", "define"):
            branches, condition = [], rest
            while True:
                body, closed, at = block(pieces, at, name)
                branches.append((condition, body))
                if closed is None:
                    raise Wrong(f"{name}: `{text}` is never closed")
                if closed == "end":
                    break
                _, _, more = closed.partition(" ")
                condition = more.removeprefix("if").strip() if more else None
            nodes.append((word, branches))
        else:
            nodes.append(("out", text))
    return nodes, None, at


def tokens(text):
    found, at = [], 0
    while at < len(text.rstrip()):
        token = TOKEN.match(text, at)
        if not token:
            raise Wrong(f"cannot read `{text[at:]}`")
        found.append(token)
        at = token.end()
    return found


def is_true(value):
    return not (value is None or value is False or value == 0 or value == "" or value == [] or value == {})


def show(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def merged(into, other):
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merged(into[key], value)
        else:
            into[key] = value
    return into


def indent(count, text):
    return "\n".join(" " * count + line for line in text.split("\n"))


def required(message, value):
    if value is None or value == "":
        raise Wrong(message)
    return value


def trim_suffix(suffix, text):
    return text.removesuffix(suffix)


FUNCTIONS = {
    "add": lambda *numbers: sum(int(number) for number in numbers),
    "and": lambda *values: next((value for value in values if not is_true(value)), values[-1]),
    "default": lambda other, value=None: value if is_true(value) else other,
    "dict": lambda *pairs: dict(zip(pairs[::2], pairs[1::2])),
    "eq": lambda a, b: a == b,
    "indent": indent,
    "int": int,
    "list": lambda *items: list(items),
    "mustMergeOverwrite": merged,
    "nindent": lambda count, text: "\n" + indent(count, text),
    "not": lambda value: not is_true(value),
    "or": lambda *values: next((value for value in values if is_true(value)), values[-1]),
    "printf": lambda form, *values: form % values,
    "quote": lambda value: json.dumps(show(value)),
    "required": required,
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "toYaml": lambda value: yaml.safe_dump(value, default_flow_style=False, width=10_000).rstrip("\n"),
    "trimSuffix": trim_suffix,
    "trunc": lambda count, text: text[:count],
}


class Chart:
    """The templates of a chart, by the names that they are defined under."""

    def __init__(self, files):
        self.defined, self.files = {}, {}
        for name, text in sorted(files.items()):
            body = []
            for node in parse(text, name):
                if node[0] == "define":
                    [(title, inner)] = node[1]
                    self.defined[json.loads(title)] = inner
                else:
                    body.append(node)
            self.files[name] = body

    def render(self, name, root):
        return self.write(self.files[name], root, {"$": root})

    def include(self, name, dot):
        if name not in self.defined:
            raise Wrong(f"there is no template `{name}`")
        return self.write(self.defined[name], dot, {"$": dot})

    def write(self, nodes, dot, names):
        out = []
        for kind, what in nodes:
            if kind == "text":
                out.append(what)
            elif kind == "out":
                out.append(self.say(what, dot, names))
            elif kind == "if":
                for condition, body in what:
                    if condition is None or is_true(self.value(condition, dot, names)):
                        out.append(self.write(body, dot, names))
                        break
            elif kind == "with":
                value = self.value(what[0][0], dot, names)
                if is_true(value):
                    out.append(self.write(what[0][1], value, dict(names)))
                elif len(what) > 1:
                    out.append(self.write(what[1][1], dot, names))
            elif kind == "range":
                out.append(self.each(what, dot, names))
            else:
                raise Wrong(f"`{kind}` is not known here")
        return "".join(out)

    def each(self, branches, dot, names):
        head, body = branches[0]
        bound, separator, source = head.partition(":=")
        value = self.value(source if separator else head, dot, names)
        bound = [name.strip() for name in bound.split(",")] if separator else []
        # Go walks a map in the order of its keys.
        pairs = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or []))
        out = []
        for key, item in pairs:
            inner = dict(names)
            if len(bound) == 2:
                inner[bound[0]], inner[bound[1]] = key, item
            elif bound:
                inner[bound[0]] = item
            out.append(self.write(body, item, inner))
        return "".join(out)

    def say(self, text, dot, names):
        found = tokens(text)
        if len(found) > 2 and found[0][5] and found[0][5].startswith("$") and found[1][3] in (":=", "="):
            names[found[0][5]] = self.pipe(found[2:], dot, names)
            return ""
        return show(self.pipe(found, dot, names))

    def value(self, text, dot, names):
        return self.pipe(tokens(text), dot, names)

    def pipe(self, found, dot, names):
        """What a pipeline gives: each command gets the value before it as its last argument."""
        commands, depth = [[]], 0
        for token in found:
            depth += {"(": 1, ")": -1}.get(token[3], 0)
            if token[3] == "|" and depth == 0:
                commands.append([])
            else:
                commands[-1].append(token)
        value, first = None, True
        for command in commands:
            arguments, at = [], 0
            while at < len(command):
                argument, at = self.operand(command, at, dot, names, is_first=at == 0)
                arguments.append(argument)
            if not first:
                arguments.append(value)
            value, first = self.call(arguments), False
        return value

    def operand(self, command, at, dot, names, is_first):
        token = command[at]
        if token[1]:
            return json.loads(token[1]), at + 1
        if token[2]:
            return token[2][1:-1], at + 1
        if token[4]:
            return (float(token[4]) if "." in token[4] else int(token[4])), at + 1
        if token[3] == "(":
            depth, end = 1, at + 1
            while depth:
                depth += {"(": 1, ")": -1}.get(command[end][3], 0)
                end += 1
            return self.pipe(command[at + 1 : end - 1], dot, names), end
        word = token[5]
        if word in ("true", "false"):
            return word == "true", at + 1
        if word == "nil":
            return None, at + 1
        if word.startswith("$"):
            name, *path = word.split(".")
            if name not in names:
                raise Wrong(f"`{name}` is not bound")
            return self.walk(names[name], path, word), at + 1
        if word.startswith("."):
            return self.walk(dot, [part for part in word.split(".") if part], word), at + 1
        if is_first and (word == "include" or word in FUNCTIONS):
            return (self.include if word == "include" else FUNCTIONS[word]), at + 1
        raise Wrong(f"`{word}` is not known here")

    def walk(self, value, path, word):
        for part in path:
            if not isinstance(value, dict):
                raise Wrong(f"`{word}` goes through something that has no fields")
            value = value.get(part)
        return value

    def call(self, arguments):
        head, *rest = arguments
        if callable(head):
            return head(*rest)
        if rest:
            raise Wrong(f"`{head}` takes no arguments")
        return head

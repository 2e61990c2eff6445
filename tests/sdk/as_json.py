"""Prints YAML files as one JSON object, by path, with anchors and merge keys resolved."""

import json
import sys

import yaml

print(json.dumps({path: yaml.safe_load(open(path, encoding="utf-8")) for path in sys.argv[1:]}))

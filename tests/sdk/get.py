"""Prints what lies at an address: python get.py URL."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
    print(answer.read().decode())

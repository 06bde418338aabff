"""Runs the interoperability suites of a checkout of eclipse/paho.mqtt.testing against a broker.

    python3 tests/python/interoperability.py CHECKOUT PORT [unittest options or test names]

The suites take their port as a global that only their own command line sets, and hand that command line on to
unittest, which refuses it: so the globals are set here. They expect a broker whose keep_alive_max is 60 s and whose access
rules deny subscribing to test/nosubscribe (tests/interoperability starts one).
"""

import importlib
import os
import sys
import unittest


def load(name, port):
    module = importlib.import_module(name)
    module.host = "127.0.0.1"
    module.port = port
    module.topic_prefix = "client_test5/"
    module.topics = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
    module.wildtopics = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
    module.nosubscribe_topics = ("test/nosubscribe",)
    return module


def main():
    checkout, port, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    sys.path.insert(0, os.path.join(checkout, "interoperability"))
    passed = True
    for name in ("client_test", "client_test5"):
        program = unittest.main(load(name, port), argv=[name, *arguments], exit=False, verbosity=2)
        passed = passed and program.result.wasSuccessful()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()

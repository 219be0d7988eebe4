"""Exit with 0 where a chatward in this container is well, else with 1 and a sentence: for HEALTHCHECK, and for probes that run a program.

python health.py [URL]    URL: what answers 200 where all is well; the service's /readyz if left out, a worker's is http://127.0.0.1:9100/healthz
"""

import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

SERVICE = "http://127.0.0.1:8080/readyz"
SECONDS = 4


def main(arguments: list[str]) -> int:
    url = arguments[0] if arguments else SERVICE
    try:
        # Of this container: a proxy that HTTP_PROXY names has no part in it.
        with build_opener(ProxyHandler({})).open(url, timeout=SECONDS):
            return 0
    except HTTPError as error:
        print(f"{url} answers {error.code}", file=sys.stderr)
    except (OSError, HTTPException) as error:
        print(f"{url} doesn't answer ({error})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# make          install what is missing, build build/ramjet
# make serve    build, then serve the demo model (or MODEL=path) on PORT
# make test     release suite, sanitized core suite, client suite; ends with "N passed, N failed"
# make test-deep adds thread sanitizer, long fuzzing, soak and large comparisons
MODEL ?= models/demo
HOST  ?= 127.0.0.1
PORT  ?= 8000
JOBS  ?= $(shell nproc)

.PHONY: all serve test test-deep deps test-deps configure clean format

all: configure
	@cmake --build build -j $(JOBS) --target ramjet

deps:
	@tools/install_dependencies.sh

test-deps:
	@tools/install_dependencies.sh test

configure: deps
	@test -f build/build.ninja || cmake --preset release

serve: all
	@build/ramjet serve $(MODEL) --host $(HOST) --port $(PORT)

test: test-deps
	@tests/run.sh

test-deep: test-deps
	@tests/run.sh deep

format:
	@git ls-files '*.cc' '*.h' | xargs clang-format-16 -i

clean:
	@rm -rf build

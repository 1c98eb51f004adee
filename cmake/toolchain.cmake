# Language level, warnings, sanitizers, and the compilers we accept.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# GCC 12 frees braced aggregates inside co_await twice, which breaks src/server.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR "GCC ${CMAKE_CXX_COMPILER_VERSION} miscompiles coroutines; use clang-16 "
    "(apt-get install clang-16, then cmake --preset release) or GCC 13 or later.")
endif()

set(RAMJET_SANITIZE "" CACHE STRING "address,undefined or thread")
set(RAMJET_FUZZ OFF CACHE BOOL "build the libFuzzer targets")

add_compile_options(-Wall -Wextra -Wpedantic -Wno-unused-parameter -Wno-missing-field-initializers
  -Werror -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # ##__VA_ARGS__ and friends in third-party macros; our own code avoids them.
  add_compile_options(-Wno-gnu-zero-variadic-macro-arguments)
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")  # for ccache
endif()
if(RAMJET_SANITIZE)
  add_compile_options(-fsanitize=${RAMJET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${RAMJET_SANITIZE})
endif()
if(RAMJET_FUZZ)
  # With counts of lines: the run that looks for faults is the one that says what it covered.
  add_compile_options(-fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()

find_program(RAMJET_CCACHE ccache)
if(RAMJET_CCACHE)
  # What lets it keep objects made with precompiled headers.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${RAMJET_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()
add_link_options(-Wl,--as-needed)
find_program(RAMJET_LLD ld.lld-16)
if(RAMJET_LLD AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_link_options(-fuse-ld=lld-16)
endif()

# What nearly every file includes, compiled once: a third of a build is spent in reading it. Each
# file still names what it uses: -DRAMJET_PCH=OFF builds without, and lets ccache serve several
# checkouts from one cache.
set(RAMJET_PCH ON CACHE BOOL "precompile the headers of the libraries")
set(ramjet_common_headers <algorithm> <array> <atomic> <chrono> <cmath> <condition_variable>
  <cstdint> <cstring> <deque> <filesystem> <functional> <limits> <map> <memory> <mutex> <numeric>
  <optional> <random> <set> <span> <string> <string_view> <thread> <unordered_map> <utility>
  <variant> <vector> <fmt/core.h> <nlohmann/json.hpp>)

# ramjet_precompile(TARGET OWNER [header...]): OWNER compiles the common headers and these, once for
# all targets that name it.
function(ramjet_precompile target owner)
  if(NOT RAMJET_PCH)
    return()
  endif()
  if(NOT TARGET ${owner})
    # Of the target's own kind: position-independent executables differ from libraries.
    file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/${owner}.cc
      CONTENT "int main() { return 0; }\n")
    get_target_property(kind ${target} TYPE)
    if(kind STREQUAL "EXECUTABLE")
      add_executable(${owner} EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/generated/${owner}.cc)
    else()
      add_library(${owner} OBJECT ${CMAKE_BINARY_DIR}/generated/${owner}.cc)
    endif()
    get_target_property(options ${target} COMPILE_OPTIONS)
    if(options)
      target_compile_options(${owner} PRIVATE ${options})
    endif()
    get_target_property(links ${target} LINK_LIBRARIES)  # so far: for their definitions
    if(links)
      target_link_libraries(${owner} PRIVATE ${links})
    endif()
    target_link_libraries(${owner} PRIVATE nlohmann_json::nlohmann_json Threads::Threads)
    target_include_directories(${owner} SYSTEM PRIVATE ${RAMJET_FMT_INCLUDE})
    target_precompile_headers(${owner} PRIVATE ${ramjet_common_headers} ${ARGN})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${owner})
endfunction()

# ramjet_embed(TARGET DIR PATTERNS HEADER SCOPE TYPE NAME): files of DIR become text in TARGET; see
# embed.cmake.
function(ramjet_embed target dir patterns header scope type name)
  list(TRANSFORM patterns PREPEND ${dir}/ OUTPUT_VARIABLE globs)
  file(GLOB sources CONFIGURE_DEPENDS ${globs})
  string(REPLACE ";" "," patterns "${patterns}")
  set(out ${CMAKE_BINARY_DIR}/generated/${name}.cc)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DDIR=${dir} -DPATTERNS=${patterns} -DHEADER=${header}
            -DSCOPE=${scope} -DTYPE=${type} -DNAME=${name} -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${sources} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()

# ramjet_test(NAME source...): a GoogleTest program. Tests spend their time in what they test, and a
# third of a build in optimising themselves: -O0, but for the kernels' ones, which emulate tiles and
# threads.
function(ramjet_test name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE GTest::gtest GTest::gtest_main GTest::gmock)
  if(NOT name STREQUAL kernels_test)
    target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O0>)
  endif()
  if(NOT name STREQUAL kernels_test)
    ramjet_precompile(${name} ramjet_test_headers <gmock/gmock.h> <gtest/gtest.h>)
  elseif(RAMJET_PCH)
    target_precompile_headers(${name} PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
  endif()
endfunction()

# ramjet_module(NAME [DEPS module...] [EXTERNAL target...])
#
# src/NAME/**.cc becomes the library ramjet_NAME, its *_test.cc the test NAME_test, its *_bench.cc
# the program NAME_bench, its *_fuzz.cc one fuzzer each (RAMJET_FUZZ only). A module without
# sources is an interface target. src/NAME/module.cmake, if present, adds what is special.
function(ramjet_module name)
  cmake_parse_arguments(arg "" "" "DEPS;EXTERNAL" ${ARGN})
  set(dir ${CMAKE_SOURCE_DIR}/src/${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/*.cc)
  set(tests ${sources})
  set(benches ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|bench|fuzz)\\.cc$")

  set(target ramjet_${name})
  set(links ${arg_EXTERNAL})
  foreach(dep ${arg_DEPS})
    list(APPEND links ramjet_${dep})
  endforeach()
  if(sources)
    add_library(${target} STATIC ${sources})
    ramjet_precompile(${target} ramjet_headers)
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${target} ${scope} ${links})
  set_property(GLOBAL APPEND PROPERTY RAMJET_MODULES ${name})
  set_property(GLOBAL PROPERTY RAMJET_DEPS_${name} ${arg_DEPS})

  if(EXISTS ${dir}/module.cmake)
    include(${dir}/module.cmake)
  endif()
  if(tests)
    ramjet_test(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${target})
    add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endif()
  if(benches)
    find_package(benchmark REQUIRED)
    add_executable(${name}_bench EXCLUDE_FROM_ALL ${benches})
    target_link_libraries(${name}_bench PRIVATE ${target} benchmark::benchmark benchmark::benchmark_main)
  endif()
  if(RAMJET_FUZZ)
    foreach(fuzzer ${fuzzers})
      get_filename_component(fuzz_name ${fuzzer} NAME_WE)
      add_executable(${fuzz_name} ${fuzzer})
      target_link_libraries(${fuzz_name} PRIVATE ${target} -fsanitize=fuzzer)
    endforeach()
  endif()
endfunction()

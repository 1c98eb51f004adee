# Device sources travel inside the binary as text; NVRTC compiles them while an engine is built.
file(GLOB device_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cuda/device/*.cuh)
set(embedded ${CMAKE_BINARY_DIR}/generated/device_sources.cc)
add_custom_command(OUTPUT ${embedded}
  COMMAND ${CMAKE_COMMAND} -DOUT=${embedded} -DDIR=${CMAKE_SOURCE_DIR}/src/kernels/cuda/device
          -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${device_sources} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake)
target_sources(ramjet_kernels PRIVATE ${embedded})

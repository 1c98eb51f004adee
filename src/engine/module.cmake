# The manifest's schema becomes a header in the build folder; only src/engine's own files see it.
set(engine_generated ${CMAKE_BINARY_DIR}/generated)
set(engine_schema ${CMAKE_SOURCE_DIR}/src/engine/manifest.fbs)
add_custom_command(
  OUTPUT ${engine_generated}/engine/manifest_generated.h
  COMMAND ${RAMJET_FLATC} --cpp --cpp-std c++17 --scoped-enums --warnings-as-errors
          -o ${engine_generated}/engine ${engine_schema}
  DEPENDS ${engine_schema}
  COMMENT "flatc manifest.fbs")
add_custom_target(engine_schema DEPENDS ${engine_generated}/engine/manifest_generated.h)
add_dependencies(ramjet_engine engine_schema)
target_include_directories(ramjet_engine SYSTEM PRIVATE ${engine_generated})

# {fmt} is compiled here once (fmt_library.cc); spdlog is used by one file, header-only, over it.
set_source_files_properties(${dir}/log.cc PROPERTIES COMPILE_DEFINITIONS SPDLOG_FMT_EXTERNAL)

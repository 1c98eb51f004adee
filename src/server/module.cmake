# The page at / travels inside the binary.
ramjet_embed(ramjet_server ${dir}/page "*.html;*.css;*.js" server/page/page_files.h
  ramjet::server PageFile page_files)
ramjet_embed(ramjet_server ${CMAKE_SOURCE_DIR}/docs "openapi.json" server/page/page_files.h
  ramjet::server PageFile openapi_files)

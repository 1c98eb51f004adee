# The page at / travels inside the binary.
ramjet_embed(ramjet_server ${dir}/page "*.html;*.css;*.js" server/page/page_files.h
  ramjet::server PageFile page_files)

# Writes OUT with the commit of SOURCE, only if that changed: cmake -DSOURCE=.. -DOUT=.. -P commit.cmake
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
                WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE)
file(CONFIGURE OUTPUT ${OUT} CONTENT "#pragma once\n#define RAMJET_COMMIT \"${commit}\"\n")

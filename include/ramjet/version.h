// The version of the library; engines of another major.minor are rebuilt.
#pragma once

#define RAMJET_VERSION "0.1.0"

// Two blocks a row in shared memory, an odd vocabulary.
#include <gtest/gtest.h>

#define VOCAB 1003
#define SPLITS 2
#define SEGMENT 512
#define IN_SHARED 1
#define THREADS 64
#define TEST_NAME ClusterAgreesWithTheReference
#define sample_rows sample_rows_of_a_cluster
#include "kernels/cuda/sample_device_test.inc"

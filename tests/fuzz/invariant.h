// How a fuzz target says that something must hold: it prints what does not, and aborts, which is
// what libFuzzer reports and keeps the input of. Unlike assert it is there in every build.
#ifndef VMQD_TESTS_FUZZ_INVARIANT_H_
#define VMQD_TESTS_FUZZ_INVARIANT_H_

#include <cstdio>
#include <cstdlib>

#define INVARIANT(condition)                                                              \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

#endif  // VMQD_TESTS_FUZZ_INVARIANT_H_

// What the benchmarks' helper programs need to work in somebody else's network namespace.
#ifndef VMQD_TESTS_BENCH_NAMESPACE_H_
#define VMQD_TESTS_BENCH_NAMESPACE_H_

#include <string>

namespace vmqd::bench {

// "error WHAT: " and what errno says: an answer to a command.
std::string Error(const std::string& what);

// The calling thread works in the network namespace `name` from now on. False: see errno.
bool Enter(const std::string& name);

}  // namespace vmqd::bench

#endif  // VMQD_TESTS_BENCH_NAMESPACE_H_

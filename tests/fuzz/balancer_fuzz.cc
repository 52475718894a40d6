// Scenes of any bytes: every plan of the balancer keeps its laws.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "tests/fuzz/invariant.h"
#include "tests/support/balancer_laws.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string broken = vmqd::testing::BrokenLaw(vmqd::testing::MakeScene({data, size}));
  if (!broken.empty()) std::fprintf(stderr, "%s\n", broken.c_str());
  INVARIANT(broken.empty());
  return 0;
}

// Gives every test a veth pair, va and vb, up and with an MTU of 1500, in a namespace of its own.
#ifndef VMQD_TESTS_LINK_OWN_VETH_H_
#define VMQD_TESTS_LINK_OWN_VETH_H_

#include "daemon/xdp/link.h"
#include "tests/support/own_namespace.h"

namespace vmqd {

class OwnVeth : public OwnNamespace {
 protected:
  void SetUp() override {
    OwnNamespace::SetUp();
    if (IsSkipped()) return;
    ASSERT_OK(CreateVeth("va", "vb", 1500));
  }
};

}  // namespace vmqd

#endif  // VMQD_TESTS_LINK_OWN_VETH_H_

// What must hold of every plan of the balancer, and scenes of any bytes to try it with: for the
// property test and the fuzz target.
#ifndef VMQD_TESTS_SUPPORT_BALANCER_LAWS_H_
#define VMQD_TESTS_SUPPORT_BALANCER_LAWS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "daemon/vmq/balancer.h"
#include "daemon/vmq/scene.h"

namespace vmqd::testing {

// A valid scene, whatever the bytes; missing ones are zero.
Scene MakeScene(std::span<const uint8_t> bytes);

// The scene when the plan has been carried out at its `now`; its moves are in the history.
Scene Apply(const Scene& scene, const Plan& plan);

// The law that MakePlan(scene) breaks, in words; empty when it keeps all.
std::string BrokenLaw(const Scene& scene);

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_BALANCER_LAWS_H_

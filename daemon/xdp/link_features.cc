// Offload features by name. Control threads; the contract is in link.h.
//
// A feature's number is its place in the kernel's string set, which differs between kernels; it is
// looked up at every call, so nothing is remembered that could go stale.
#include <linux/ethtool.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

struct FeatureName {
  char text[ETH_GSTRING_LEN];
};
using GetBlock = ethtool_get_features_block;
using SetBlock = ethtool_set_features_block;

// The features of a device at one moment, and the place of the wanted one among them.
struct FeatureTable {
  uint32_t count = 0;             // features this kernel knows
  std::optional<uint32_t> place;  // of the wanted one
  std::vector<GetBlock> blocks;

  bool Bit(uint32_t GetBlock::*word) const {
    return blocks[*place / 32].*word >> (*place % 32) & 1;
  }
  Feature Describe() const {
    if (!place) return {};
    return {.known = true,
            .active = Bit(&GetBlock::active),
            .changeable = Bit(&GetBlock::available) && !Bit(&GetBlock::never_changed)};
  }
};

// "switching on feature rx-gro of device va"
std::string Attempt(const std::string& what, std::string_view device, std::string_view feature) {
  return absl::StrCat(what, " feature ", std::string(feature), " of device ", std::string(device));
}

absl::StatusOr<FeatureTable> ReadFeatures(std::string_view device, std::string_view feature) {
  const auto refused = [&](int error) {
    return KernelRefusal({.error = error}, Attempt("reading", device, feature));
  };
  FeatureTable table;
  CommandBuffer<ethtool_sset_info, uint32_t> info(ETHTOOL_GSSET_INFO, 1);
  info.get()->sset_mask = 1ULL << ETH_SS_FEATURES;
  if (const int error = EthtoolCall(device, info.get()); error != 0) return refused(error);
  table.count = info.get()->sset_mask == 0 ? 0 : info.elements()[0];

  CommandBuffer<ethtool_gstrings, FeatureName> names(ETHTOOL_GSTRINGS, table.count);
  names.get()->string_set = ETH_SS_FEATURES;
  names.get()->len = table.count;
  if (const int error = EthtoolCall(device, names.get()); error != 0) return refused(error);
  for (uint32_t i = 0; i < table.count && !table.place; ++i) {
    const char* text = names.elements()[i].text;
    if (feature == std::string_view(text, strnlen(text, ETH_GSTRING_LEN))) table.place = i;
  }

  const uint32_t blocks = (table.count + 31) / 32;
  CommandBuffer<ethtool_gfeatures, GetBlock> state(ETHTOOL_GFEATURES, blocks);
  state.get()->size = blocks;
  if (const int error = EthtoolCall(device, state.get()); error != 0) return refused(error);
  table.blocks.assign(state.elements(), state.elements() + blocks);
  return table;
}

// Asks for one feature; 0 or the errno.
int RequestFeature(std::string_view device, const FeatureTable& table, bool on) {
  const auto blocks = static_cast<uint32_t>(table.blocks.size());
  CommandBuffer<ethtool_sfeatures, SetBlock> change(ETHTOOL_SFEATURES, blocks);
  change.get()->size = blocks;
  SetBlock& block = change.elements()[*table.place / 32];
  block.valid = 1U << (*table.place % 32);
  block.requested = on ? block.valid : 0;
  return EthtoolCall(device, change.get());
}

}  // namespace

absl::StatusOr<Feature> GetFeature(std::string_view device, std::string_view feature) {
  auto table = ReadFeatures(device, feature);
  if (!table.ok()) return table.status();
  return table->Describe();
}

absl::Status SetFeature(std::string_view device, std::string_view feature, bool on) {
  auto table = ReadFeatures(device, feature);
  if (!table.ok()) return table.status();
  const Feature before = table->Describe();
  const std::string attempted = Attempt(on ? "switching on" : "switching off", device, feature);
  const std::string opposite = on ? "off" : "on";
  if (!before.known) {
    return absl::UnimplementedError(
        absl::StrCat(attempted, ": this kernel has no feature of that name; `ethtool -k ",
                     std::string(device), "` lists those it has"));
  }
  if (before.active == on) return absl::OkStatus();
  if (!before.changeable) {
    return absl::FailedPreconditionError(
        absl::StrCat(attempted, ": its driver has it fixed ", opposite));
  }
  if (const int error = RequestFeature(device, *table, on); error != 0) {
    return KernelRefusal({.error = error}, attempted);
  }
  // The kernel may take the wish down and yet not fulfil it.
  auto after = GetFeature(device, feature);
  if (!after.ok()) return after.status();
  if (after->active == on) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      attempted, ": the kernel keeps it ", opposite,
      " because of another setting of the device: an XDP program, a feature it depends on, a "
      "device above it"));
}

}  // namespace vmqd

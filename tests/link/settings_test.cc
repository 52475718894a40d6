// Borrowed settings: changed, recorded, put back; by the daemon that changed them or by the next.
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/affinity.h"
#include "daemon/xdp/device_settings.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/setting.h"
#include "tests/link/own_veth.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kFeature[] = "rx-vlan-hw-parse";
const BorrowedSetting kFeatureOff{"va", "feature:rx-vlan-hw-parse", "on", "off"};

// A ledger in memory, which outlives the daemons of a test.
class Ledger final : public SettingsLedger {
 public:
  absl::Status Record(const BorrowedSetting& setting) override {
    if (full) return absl::ResourceExhaustedError("the disk is full");
    Erase(setting.device, setting.setting);
    entries.push_back(setting);
    ++records;
    if (on_record) on_record();
    return absl::OkStatus();
  }
  void Erase(std::string_view device, std::string_view setting) override {
    std::erase_if(entries, [&](const BorrowedSetting& entry) {
      return entry.device == device && entry.setting == setting;
    });
  }
  std::optional<BorrowedSetting> Find(std::string_view device,
                                      std::string_view setting) const override {
    for (const BorrowedSetting& entry : entries) {
      if (entry.device == device && entry.setting == setting) return entry;
    }
    return std::nullopt;
  }
  std::vector<BorrowedSetting> FindAll(std::string_view device,
                                       std::string_view kind) const override {
    std::vector<BorrowedSetting> found = entries;
    std::erase_if(found, [&](const BorrowedSetting& entry) {
      return entry.device != device || !entry.setting.starts_with(kind);
    });
    return found;
  }

  std::vector<BorrowedSetting> entries;
  std::function<void()> on_record;
  int records = 0;
  bool full = false;
};

class SettingsTest : public OwnVeth {
 protected:
  void SetUp() override {
    OwnVeth::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(Active(kFeature));
  }
  static bool Active(const std::string& feature, const char* device = "va") {
    auto found = GetFeature(device, feature);
    EXPECT_OK(found);
    return found.ok() && found->active;
  }
  // A daemon that made the change and is no more.
  void TurnOffAndDie() {
    auto* settings = new DeviceSettings(&ledger_);
    ASSERT_OK(settings->TurnOff("va", kFeature));
    dead_.push_back(settings);
  }
  // One NAPI thread of the peer's, which has them because it has GRO.
  pid_t NapiThread() {
    EXPECT_EQ(unshare(CLONE_NEWNS), 0);
    EXPECT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    EXPECT_EQ(mount("sysfs", "/sys", "sysfs", 0, nullptr), 0);
    EXPECT_TRUE(std::ofstream("/sys/class/net/vb/threaded") << 1 << std::flush);
    return QueueNapis(FindLink("vb")->ifindex, 1)[0].thread;
  }

  Ledger ledger_;
  std::vector<DeviceSettings*> dead_;  // never destroyed: that would put things back
};

TEST_F(SettingsTest, ArePutBackLastFirst) {
  {
    DeviceSettings settings;
    ASSERT_OK(settings.TurnOff("va", kFeature));
    ASSERT_OK(settings.TurnOff("va", kFeature));
    ASSERT_OK(settings.TurnOff("va", "rx-gro"));  // off already
    ASSERT_OK(settings.TurnOff("va", "no-such-feature"));
    ASSERT_OK(settings.TurnOff("va", "tx-scatter-gather"));
    EXPECT_THAT(settings.changed(),
                ElementsAre("rx-vlan-hw-parse: on -> off", "tx-scatter-gather: on -> off"));
    EXPECT_FALSE(Active(kFeature));
    const DeviceSettings moved = std::move(settings);
    EXPECT_THAT(moved.changed(), SizeIs(2));
  }
  EXPECT_TRUE(Active(kFeature));
  EXPECT_TRUE(Active("tx-scatter-gather"));
}

// What is changed again may need what was changed meanwhile, as a rule needs its RSS context.
TEST_F(SettingsTest, ChangedAgainArePutBackFirst) {
  DeviceSettings settings(&ledger_);
  ASSERT_OK(settings.Set("va", "feature:rx-gro", "on"));
  ASSERT_OK(settings.TurnOff("va", kFeature));
  ASSERT_OK(settings.Set("va", "feature:rx-gro", "off"));
  EXPECT_THAT(settings.changed(), ElementsAre("rx-vlan-hw-parse: on -> off", "rx-gro: off -> off"));
  ASSERT_THAT(ledger_.entries, SizeIs(2));
  EXPECT_EQ(ledger_.entries[1].setting, "feature:rx-gro");
}

TEST_F(SettingsTest, FollowARenamedDevice) {
  DeviceSettings settings(&ledger_);
  ASSERT_OK(settings.TurnOff("va", kFeature));
  ASSERT_TRUE(Ip("link set va down") && Ip("link set va name vx"));
  ASSERT_OK(CreateTap("va", 1500));
  ASSERT_OK(settings.Restore());
  EXPECT_TRUE(Active(kFeature, "vx"));
  EXPECT_THAT(settings.changed(), IsEmpty());
  EXPECT_THAT(ledger_.entries, IsEmpty());
}

TEST_F(SettingsTest, OfAMissingDeviceArePassedOver) {
  DeviceSettings settings(&ledger_);
  ASSERT_OK(settings.TurnOff("va", kFeature));
  ASSERT_OK(DeleteLink(FindLink("va")->ifindex));
  EXPECT_OK(settings.Restore());
  EXPECT_THAT(settings.changed(), IsEmpty());
  EXPECT_THAT(ledger_.entries, IsEmpty());
  EXPECT_REFUSED(settings.TurnOff("va", "rx-gro"), StatusCode::kNotFound, "device va");
}

TEST_F(SettingsTest, FixedOnCannotBeTurnedOff) {
  DeviceSettings settings(&ledger_);
  EXPECT_REFUSED(settings.TurnOff("lo", "tx-checksum-ip-generic"), StatusCode::kFailedPrecondition,
                 "fixed on");
  EXPECT_THAT(settings.changed(), IsEmpty());
  EXPECT_THAT(ledger_.entries, IsEmpty());
}

TEST_F(SettingsTest, AreRecordedBeforeTheyAreMade) {
  bool active_when_recorded = false;
  ledger_.on_record = [&] { active_when_recorded = Active(kFeature); };
  DeviceSettings settings(&ledger_);
  ASSERT_OK(settings.TurnOff("va", kFeature));
  EXPECT_TRUE(active_when_recorded);
  EXPECT_FALSE(Active(kFeature));
  EXPECT_THAT(ledger_.entries, ElementsAre(kFeatureOff));
  ASSERT_OK(settings.Restore());
  EXPECT_TRUE(Active(kFeature));
  EXPECT_THAT(ledger_.entries, IsEmpty());
}

TEST_F(SettingsTest, AreNotMadeWithoutARecord) {
  ledger_.full = true;
  DeviceSettings settings(&ledger_);
  EXPECT_REFUSED(settings.TurnOff("va", kFeature), StatusCode::kResourceExhausted, "full");
  EXPECT_TRUE(Active(kFeature));
  EXPECT_THAT(settings.changed(), IsEmpty());
}

TEST_F(SettingsTest, OfADeadDaemonAreTakenOver) {
  TurnOffAndDie();
  EXPECT_EQ(ledger_.records, 1);
  {
    DeviceSettings next(&ledger_);
    ASSERT_OK(next.TurnOff("va", kFeature));
    EXPECT_EQ(ledger_.records, 1);  // nothing to change, nothing to write
    EXPECT_THAT(next.changed(), ElementsAre("rx-vlan-hw-parse: on -> off"));
    EXPECT_FALSE(Active(kFeature));
  }
  EXPECT_TRUE(Active(kFeature));
  EXPECT_THAT(ledger_.entries, IsEmpty());
}

TEST_F(SettingsTest, OfADeadDaemonArePutBackByCleanup) {
  TurnOffAndDie();
  ASSERT_OK(DeviceSettings::RestoreRecorded(kFeatureOff));
  EXPECT_TRUE(Active(kFeature));
  ASSERT_OK(DeviceSettings::RestoreRecorded(kFeatureOff));
  EXPECT_TRUE(Active(kFeature));
  EXPECT_OK(DeviceSettings::RestoreRecorded({"gone", kFeatureOff.setting, "on", "off"}));
  EXPECT_OK(DeviceSettings::RestoreRecorded({"va", "feature:no-such-feature", "on", "off"}));
  EXPECT_OK(DeviceSettings::RestoreRecorded({"va", "irq:99999", "0", "1"}));
  EXPECT_OK(DeviceSettings::RestoreRecorded({"va", "thread:1073741824", "0", "1"}));
  EXPECT_REFUSED(DeviceSettings::RestoreRecorded({"va", "colour", "red", "blue"}),
                 StatusCode::kInvalidArgument, "\"colour\"");
}

TEST_F(SettingsTest, ThatSomebodyChangedMeanwhileAreTheirs) {
  TurnOffAndDie();
  ASSERT_OK(SetFeature("va", kFeature, true));
  DeviceSettings next(&ledger_);
  ASSERT_OK(next.TurnOff("va", kFeature));
  ASSERT_OK(SetFeature("va", kFeature, true));  // and again
  ASSERT_OK(next.Restore());
  EXPECT_TRUE(Active(kFeature));
  EXPECT_THAT(ledger_.entries, IsEmpty());
}

TEST_F(SettingsTest, NapiThreadsArePinnedAndPutBack) {
  const pid_t thread = NapiThread();
  if (thread == 0) GTEST_SKIP() << "this kernel lists no NAPI threads";
  const std::vector<int> before = *ThreadCpus(thread);
  const std::vector<int> mine = AllowedCpus();
  if (before.size() < 2 || mine.size() < 2) GTEST_SKIP() << "needs two CPUs";
  const std::string setting = absl::StrCat("thread:", thread);
  auto* dead = new DeviceSettings(&ledger_);
  dead_.push_back(dead);
  ASSERT_OK(dead->PinThread("vb", thread, mine[0]));
  ASSERT_THAT(ledger_.entries, SizeIs(1));
  const BorrowedSetting recorded = ledger_.entries[0];
  EXPECT_EQ(recorded.setting, setting);
  EXPECT_EQ(recorded.during, absl::StrCat(mine[0]));
  {
    // Dealt to another CPU by the next daemon: what was there at first is what comes back.
    DeviceSettings next(&ledger_);
    ASSERT_OK(next.PinThread("vb", thread, mine[1]));
    EXPECT_THAT(*ThreadCpus(thread), ElementsAre(mine[1]));
    EXPECT_THAT(next.changed(), ElementsAre(absl::StrCat("NAPI thread ", thread, ": CPU ",
                                                         recorded.before, " -> ", mine[1])));
    ASSERT_OK(next.PinThread("vb", thread, mine[0]));
    EXPECT_THAT(next.changed(), SizeIs(1));
  }
  EXPECT_EQ(*ThreadCpus(thread), before);
  EXPECT_THAT(ledger_.entries, IsEmpty());
  // Moved by another hand: neither before nor during.
  ASSERT_OK(SetThreadCpus(thread, {mine[1]}));
  EXPECT_OK(DeviceSettings::RestoreRecorded(recorded));
  EXPECT_THAT(*ThreadCpus(thread), ElementsAre(mine[1]));
  ASSERT_OK(SetThreadCpus(thread, {mine[0]}));
  EXPECT_OK(DeviceSettings::RestoreRecorded(recorded));
  EXPECT_EQ(*ThreadCpus(thread), before);
}

// The number of a thread that is gone may be anybody's.
TEST_F(SettingsTest, OtherThreadsAreLeftAlone) {
  const std::vector<int> all = AllowedCpus();
  if (all.size() < 2) GTEST_SKIP() << "needs two CPUs";
  ASSERT_OK(PinThread(gettid(), all[0]));
  EXPECT_OK(DeviceSettings::RestoreRecorded(
      {"vb", absl::StrCat("thread:", gettid()), absl::StrCat(all[1]), absl::StrCat(all[0])}));
  EXPECT_THAT(AllowedCpus(), ElementsAre(all[0]));
  ASSERT_OK(SetThreadCpus(gettid(), all));
}

TEST_F(SettingsTest, InterruptsArePinnedAndPutBack) {
  for (int irq = 0; irq < 256; ++irq) {
    const auto before = IrqCpuList(irq);
    if (!before.ok() || *before == "0") continue;
    DeviceSettings settings(&ledger_);
    if (!settings.PinIrq("va", irq, 0).ok()) {  // per CPU, or its driver's
      EXPECT_THAT(ledger_.entries, IsEmpty());
      EXPECT_THAT(settings.changed(), IsEmpty());
      continue;
    }
    EXPECT_EQ(*IrqCpuList(irq), "0");
    EXPECT_THAT(ledger_.entries,
                ElementsAre(BorrowedSetting{"va", absl::StrCat("irq:", irq), *before, "0"}));
    EXPECT_THAT(settings.changed(),
                ElementsAre(absl::StrCat("irq ", irq, ": CPU ", *before, " -> 0")));
    ASSERT_OK(settings.Restore());
    EXPECT_EQ(*IrqCpuList(irq), *before);
    EXPECT_THAT(ledger_.entries, IsEmpty());
    return;
  }
  GTEST_SKIP() << "this machine has no interrupt that can be moved";
}

TEST_F(SettingsTest, QueuesOfADevice) {
  ASSERT_TRUE(Ip("link add vc numrxqueues 4 numtxqueues 4 type veth peer name vd"));
  const std::string setting = kChannelSetting;
  {
    DeviceSettings settings(&ledger_);
    ASSERT_OK(settings.Set("vc", setting, "rx 2 tx 3"));
    EXPECT_EQ(*ReadSetting("vc", setting), "rx 2 tx 3");
    EXPECT_THAT(settings.changed(), ElementsAre("queues: rx 4 tx 4 -> rx 2 tx 3"));
    EXPECT_THAT(ledger_.entries, SizeIs(1));
    EXPECT_REFUSED(settings.Set("vc", setting, "rx 5 tx 4"), StatusCode::kInvalidArgument,
                   "maximum");
    EXPECT_EQ(ledger_.entries[0].during, "rx 2 tx 3");
    EXPECT_REFUSED(settings.Set("vc", setting, "four"), StatusCode::kInvalidArgument, "\"four\"");
  }
  EXPECT_EQ(*ReadSetting("vc", setting), "rx 4 tx 4");
  EXPECT_THAT(ledger_.entries, IsEmpty());
  ASSERT_OK(CreateTap("vt", 1500));
  EXPECT_REFUSED(WriteSetting("vt", setting, "combined 2"), StatusCode::kUnimplemented,
                 "device vt");
}

TEST_F(SettingsTest, DelayOfInterrupts) {
  const uint32_t napi = QueueNapis(FindLink("vb")->ifindex, 1)[0].id;
  ASSERT_NE(napi, 0u);
  for (const std::string& setting :
       {absl::StrCat(kDelaySetting, napi), std::string(kDelaySetting)}) {
    {
      DeviceSettings settings(&ledger_);
      ASSERT_OK(settings.Set("vb", setting, "2 times, 200000 ns"));
      EXPECT_EQ(*ReadSetting("vb", setting), "2 times, 200000 ns");
      EXPECT_THAT(settings.changed()[0],
                  ::testing::EndsWith("deferred: 0 times, 0 ns -> 2 times, 200000 ns"));
    }
    EXPECT_EQ(*ReadSetting("vb", setting), "0 times, 0 ns");
  }
  EXPECT_OK(
      DeviceSettings::RestoreRecorded({"vb", "delay:999999", "0 times, 0 ns", "2 times, 1 ns"}));
}

}  // namespace
}  // namespace vmqd

// The parts of vmqd-cli that decide something without a daemon: what --may-exist calls the same,
// and how numbers are written. What it prints and returns as a whole is tested through the real
// daemon.
#include "client/difference.h"
#include "client/output.h"
#include "gmock/gmock.h"
#include "vmqd/v1/port.pb.h"

namespace vmqd::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Difference, OnlyTheFieldsAskedFor) {
  v1::Port asked;
  v1::Port existing;
  asked.set_vlan(10);
  existing.set_vlan(20);
  existing.set_trusted(true);
  EXPECT_THAT(Differences(asked, existing, {"vlan"}), ElementsAre("vlan is 20, asked for 10"));
  EXPECT_THAT(Differences(asked, existing, {"mtu"}), IsEmpty());
}

TEST(Difference, AddressesInAnyOrder) {
  v1::Port asked;
  v1::Port existing;
  asked.add_macs("a");
  asked.add_macs("b");
  existing.add_macs("b");
  existing.add_macs("a");
  EXPECT_THAT(Differences(asked, existing, {"macs"}), IsEmpty());
  existing.add_macs("c");
  EXPECT_THAT(Differences(asked, existing, {"macs"}),
              ElementsAre("macs is \"a\",\"b\",\"c\", asked for \"a\",\"b\""));
}

TEST(Difference, ZeroIsNotAbsent) {
  v1::Port asked;
  v1::Port existing;
  asked.set_queue(0);
  EXPECT_THAT(Differences(asked, existing, {"queue"}),
              ElementsAre("queue is not set, asked for 0"));
  existing.set_queue(0);
  EXPECT_THAT(Differences(asked, existing, {"queue"}), IsEmpty());
}

TEST(Output, Rates) {
  EXPECT_EQ(Rate(0), "0");
  EXPECT_EQ(Rate(0.5), "0.5");
  EXPECT_EQ(Rate(9.96), "10");
  EXPECT_EQ(Rate(999.4), "999");
  EXPECT_EQ(Rate(999.5), "1.00k");
  EXPECT_EQ(Rate(12345), "12.3k");
  EXPECT_EQ(Rate(999499), "999k");
  EXPECT_EQ(Rate(1234567), "1.23M");
  EXPECT_EQ(Rate(1e10), "10.0G");
}

TEST(Output, RequestedAndEffective) {
  EXPECT_EQ(Effective("native", "native", ""), "native");
  EXPECT_EQ(Effective("auto", "generic", "no driver support"),
            "generic, asked for auto: no driver support");
}

TEST(Output, TableAlignsAndContinues) {
  Table table({{"NAME"}, {"N", Table::Align::kRight}, {"LAST"}});
  table.AddRow({"a", "1", "x\nyy"});
  table.AddRow({"long", "100", ""});
  testing::internal::CaptureStdout();
  table.Print();
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "NAME    N  LAST\n"
            "a       1  x\n"
            "           yy\n"
            "long  100\n");
}

// To a YAML 1.1 reader a bare 10:20:30:40:50:10 is the number 7824238210.
TEST(Output, YamlQuotesWhatIsNoPlainWord) {
  v1::Port port;
  port.set_name("ports/vm1");
  port.add_macs("10:20:30:40:50:10");
  testing::internal::CaptureStdout();
  PrintAs("yaml", port, [] { FAIL(); });
  const std::string yaml = testing::internal::GetCapturedStdout();
  EXPECT_NE(yaml.find("name: ports/vm1\n"), std::string::npos) << yaml;
  EXPECT_NE(yaml.find("- \"10:20:30:40:50:10\"\n"), std::string::npos) << yaml;
  EXPECT_NE(yaml.find("device: \"\"\n"), std::string::npos) << yaml;
}

}  // namespace
}  // namespace vmqd::cli

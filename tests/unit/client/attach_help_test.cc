// What VMMs are told, to the letter: these words are typed into shells and XML files.
#include "client/attach_help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/protobuf/text_format.h"
#include "tests/support/status_matchers.h"

namespace vmqd::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using vmqd::testing::IsOk;
using vmqd::testing::StatusIs;

constexpr char kVhost[] =
    "name: 'ports/vm1' kind: VHOST_USER socket: 'vm1.sock' macs: '52:54:00:00:00:01' "
    "effective_mtu: 1500 vhost { socket_path: '/run/vmqd/vhost-user/vm1.sock' } ";
constexpr char kBig[] = "vhost_role: VMM_LISTENS queue_pairs: 4 effective_mtu: 9000";
constexpr char kTap[] =
    "name: 'ports/vm1' kind: TAP device: 'tap-vm1' macs: '52:54:00:00:00:01' effective_mtu: 1500 ";

v1::Port Port(const std::string& text, const std::string& more = "") {
  v1::Port port;
  v1::Port merged;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &port)) << text;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(more, &merged)) << more;
  port.MergeFrom(merged);
  return port;
}

AttachHelp Help(const v1::Port& port, Vmm vmm) {
  const auto help = AttachHelpFor(port, vmm);
  EXPECT_THAT(help, IsOk());
  return help.value_or(AttachHelp());
}

TEST(AttachHelpTest, Qemu) {
  const AttachHelp help = Help(Port(kVhost), Vmm::kQemu);
  EXPECT_EQ(help.text,
            "-m 1G \\\n"
            "-object memory-backend-memfd,id=mem0,size=1G,share=on \\\n"
            "-machine memory-backend=mem0 \\\n"
            "-chardev socket,id=char-vm1,path=/run/vmqd/vhost-user/vm1.sock,reconnect=1 \\\n"
            "-netdev vhost-user,id=net-vm1,chardev=char-vm1 \\\n"
            "-device virtio-net-pci,netdev=net-vm1,mac=52:54:00:00:00:01\n");
  EXPECT_THAT(help.notes, ElementsAre(HasSubstr("1G stands for"), HasSubstr("reconnect-ms=1000"),
                                      HasSubstr("vhost_user.group")));
}

TEST(AttachHelpTest, QemuListensAndHasQueuesAndJumboFrames) {
  const AttachHelp help = Help(Port(kVhost, kBig), Vmm::kQemu);
  EXPECT_EQ(help.text,
            "-m 1G \\\n"
            "-object memory-backend-memfd,id=mem0,size=1G,share=on \\\n"
            "-machine memory-backend=mem0 \\\n"
            "-chardev socket,id=char-vm1,path=/run/vmqd/vhost-user/vm1.sock,server=on,wait=off \\\n"
            "-netdev vhost-user,id=net-vm1,chardev=char-vm1,queues=4 \\\n"
            "-device virtio-net-pci,netdev=net-vm1,mac=52:54:00:00:00:01,mq=on,vectors=10,"
            "host_mtu=9000\n");
  EXPECT_THAT(help.notes, ElementsAre(HasSubstr("1G stands for"), HasSubstr("allowed to write")));
}

TEST(AttachHelpTest, QemuOnATap) {
  EXPECT_EQ(Help(Port(kTap), Vmm::kQemu).text,
            "-netdev tap,id=net-vm1,ifname=tap-vm1,script=no,downscript=no \\\n"
            "-device virtio-net-pci,netdev=net-vm1,mac=52:54:00:00:00:01\n");
}

TEST(AttachHelpTest, Libvirt) {
  const AttachHelp help = Help(Port(kVhost), Vmm::kLibvirt);
  EXPECT_EQ(help.text,
            "<!-- in <domain> -->\n"
            "<memoryBacking>\n"
            "  <source type='memfd'/>\n"
            "  <access mode='shared'/>\n"
            "</memoryBacking>\n"
            "<!-- in <devices> -->\n"
            "<interface type='vhostuser'>\n"
            "  <mac address='52:54:00:00:00:01'/>\n"
            "  <source type='unix' path='/run/vmqd/vhost-user/vm1.sock' mode='client'>\n"
            "    <reconnect enabled='yes' timeout='1'/>\n"
            "  </source>\n"
            "  <model type='virtio'/>\n"
            "</interface>\n");
  EXPECT_TRUE(help.arguments.empty());
}

TEST(AttachHelpTest, LibvirtListensAndHasQueuesAndJumboFrames) {
  EXPECT_THAT(Help(Port(kVhost, kBig), Vmm::kLibvirt).text,
              HasSubstr("  <source type='unix' path='/run/vmqd/vhost-user/vm1.sock' "
                        "mode='server'/>\n"
                        "  <model type='virtio'/>\n"
                        "  <driver queues='4'/>\n"
                        "  <mtu size='9000'/>\n"
                        "</interface>\n"));
}

TEST(AttachHelpTest, LibvirtOnATap) {
  EXPECT_EQ(Help(Port(kTap), Vmm::kLibvirt).text,
            "<!-- in <devices> -->\n"
            "<interface type='ethernet'>\n"
            "  <mac address='52:54:00:00:00:01'/>\n"
            "  <target dev='tap-vm1' managed='no'/>\n"
            "  <model type='virtio'/>\n"
            "</interface>\n");
}

TEST(AttachHelpTest, CloudHypervisor) {
  EXPECT_EQ(Help(Port(kVhost), Vmm::kCloudHypervisor).text,
            "--memory size=1G,shared=on \\\n"
            "--net vhost_user=true,socket=/run/vmqd/vhost-user/vm1.sock,vhost_mode=client,"
            "num_queues=2,mac=52:54:00:00:00:01\n");
  const AttachHelp big = Help(Port(kVhost, kBig), Vmm::kCloudHypervisor);
  EXPECT_THAT(big.arguments,
              ElementsAre("--memory", "size=1G,shared=on", "--net",
                          "vhost_user=true,socket=/run/vmqd/vhost-user/vm1.sock,vhost_mode=server,"
                          "num_queues=8,mac=52:54:00:00:00:01,mtu=9000"));
  EXPECT_THAT(big.notes, ::testing::Contains(HasSubstr("--cpus boot=4")));
  EXPECT_EQ(Help(Port(kTap), Vmm::kCloudHypervisor).text,
            "--net tap=tap-vm1,mac=52:54:00:00:00:01\n");
}

// A directory is named by an administrator, and may be named anything.
TEST(AttachHelpTest, ValuesAreQuotedAsEachReaderWantsIt) {
  const v1::Port port = Port(kVhost, "vhost { socket_path: '/a,b &<\\'c/vm1.sock' }");
  EXPECT_THAT(Help(port, Vmm::kQemu).arguments,
              ::testing::Contains("socket,id=char-vm1,path=/a,,b &<'c/vm1.sock,reconnect=1"));
  EXPECT_THAT(Help(port, Vmm::kQemu).text,
              HasSubstr("'socket,id=char-vm1,path=/a,,b &<'\\''c/vm1.sock,reconnect=1'"));
  EXPECT_THAT(Help(port, Vmm::kLibvirt).text, HasSubstr("path='/a,b &amp;&lt;&apos;c/vm1.sock'"));
}

TEST(AttachHelpTest, SeveralAddresses) {
  const AttachHelp help = Help(Port(kTap, "macs: '52:54:00:00:00:02'"), Vmm::kQemu);
  EXPECT_THAT(help.text, Not(HasSubstr("52:54:00:00:00:02")));
  EXPECT_THAT(help.notes, ElementsAre(HasSubstr("other addresses")));
}

TEST(AttachHelpTest, PortsThatNoVmmAttachesTo) {
  const struct {
    const char* port;
    const char* said;
  } rows[] = {
      {"name: 'ports/p' kind: VETH device: 'k' peer_device: 'e'",
       "no VMM attaches to port p, a veth port: its other end is for a container: ip link set e "
       "netns NAMESPACE; for a virtual machine add a port with --vhost-user or --tap"},
      {"name: 'ports/p' kind: HOST device: 'k' peer_device: 'e'", "ip link set e up"},
      {"name: 'ports/p' kind: NETDEV device: 'k'", "it is the device k"},
      {"name: 'ports/p' kind: VHOST_USER socket: 's'", "does not say where the socket"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(AttachHelpFor(Port(row.port), Vmm::kQemu),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(row.said)));
  }
}

TEST(AttachHelpTest, Json) {
  EXPECT_EQ(AttachHelpJson(Help(Port(kTap), Vmm::kCloudHypervisor)),
            "{\n"
            " \"vmm\": \"cloud-hypervisor\",\n"
            " \"arguments\": [\"--net\", \"tap=tap-vm1,mac=52:54:00:00:00:01\"],\n"
            " \"text\": \"--net tap=tap-vm1,mac=52:54:00:00:00:01\\n\",\n"
            " \"notes\": []\n"
            "}\n");
}

}  // namespace
}  // namespace vmqd::cli

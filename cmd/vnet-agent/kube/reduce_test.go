package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNodeFaults(t *testing.T) {
	t.Parallel()
	const good, goodCIDR = "192.0.2.1", "10.244.1.0/24"
	cases := []struct {
		address, cidr string
		fault         string // "": none
	}{
		{good, goodCIDR, ""},
		{"fd00::1", "fd00:1::/64", ""},
		{"::ffff:192.0.2.7", "10.244.1.9/24", ""}, // read as what is meant
		{"", goodCIDR, `status.addresses[1] "" is not an address`},
		{"192.0.2.1/24", goodCIDR, `status.addresses[1] "192.0.2.1/24" is not an address`},
		{"192.0.2.256", goodCIDR, `status.addresses[1] "192.0.2.256" is not an address`},
		{"node.example", goodCIDR, `status.addresses[1] "node.example" is not an address`},
		{strings.Repeat("1", 5000), goodCIDR, `status.addresses[1] "` + strings.Repeat("1", 64) + `" is not an address`},
		{"\x00\xff\n", goodCIDR, `status.addresses[1] "\x00\xff\n" is not an address`},
		{"127.0.0.1", goodCIDR, `status.addresses[1] "127.0.0.1" is not an address by which`},
		{"0.0.0.0", goodCIDR, `status.addresses[1] "0.0.0.0" is not an address by which`},
		{"::", goodCIDR, `status.addresses[1] "::" is not an address by which`},
		{"255.255.255.255", goodCIDR, `is not an address by which`},
		{"::ffff:127.0.0.1", goodCIDR, `is not an address by which`},
		{"224.0.0.1", goodCIDR, `is not an address by which`},
		{"fe80::1", goodCIDR, `is not an address by which`},
		{"fd00::1%eth0", goodCIDR, `is not an address by which`},
		{good, "10.244.1.0", `spec.podCIDRs[0] "10.244.1.0" is not a prefix`},
		{good, "10.244.1.0/33", `spec.podCIDRs[0] "10.244.1.0/33" is not a prefix`},
		{good, "10.244.1.0/-1", `is not a prefix`},
		{good, "x", `is not a prefix`},
		{good, "0.0.0.0/0", `spec.podCIDRs[0] "0.0.0.0/0" is not a prefix of pods' addresses`},
		{good, "10.0.0.0/0", `is not a prefix of pods' addresses`},
		{good, "::/0", `is not a prefix of pods' addresses`},
		{good, "127.0.0.0/8", `is not a prefix of pods' addresses`},
		{good, "ff00::/8", `is not a prefix of pods' addresses`},
		{good, "::ffff:10.0.0.0/104", `is not a prefix of pods' addresses`},
	}
	for _, c := range cases {
		n := reduceNode(&corev1.Node{
			Spec: corev1.NodeSpec{PodCIDRs: []string{c.cidr, "fd00:2::/64"}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeHostName, Address: "nonsense"}, {Type: corev1.NodeInternalIP, Address: c.address}, {Type: corev1.NodeInternalIP, Address: "192.0.2.9"}}},
		})
		if c.fault == "" {
			if len(n.Faults) > 0 || len(n.Addresses) != 2 || len(n.PodCIDRs) != 2 || n.Addresses[0].Is4In6() || n.PodCIDRs[0] != n.PodCIDRs[0].Masked() {
				t.Errorf("%q, %q: %+v", c.address, c.cidr, n)
			}
			continue
		}
		if len(n.Faults) != 1 || !strings.Contains(n.Faults[0], c.fault) || len(n.Addresses)+len(n.PodCIDRs) != 3 {
			t.Errorf("%q, %q: %+v, want the fault %s", c.address, c.cidr, n, c.fault)
		}
	}
	old := reduceNode(&corev1.Node{Spec: corev1.NodeSpec{PodCIDR: goodCIDR}})
	if len(old.PodCIDRs) != 1 {
		t.Errorf("podCIDR alone: %+v", old)
	}
	if empty := reduceNode(&corev1.Node{}); len(empty.Faults)+len(empty.Addresses)+len(empty.PodCIDRs) > 0 {
		t.Errorf("an empty node: %+v", empty)
	}
	t.Logf("%d cases", len(cases)+2)
}

func TestNodePodsFaults(t *testing.T) {
	t.Parallel()
	cases := []struct {
		pods   string
		kept   string // addresses
		faults int
	}{
		{`[]`, "", 0},
		{`null`, "", 0},
		{`[{"addresses":["10.0.0.1","fd00::1"]},{"addresses":["10.0.0.2"]}]`, "10.0.0.1 fd00::1 10.0.0.2", 0},
		{`[{"addresses":["10.0.0.1","x"]}]`, "10.0.0.1", 1},
		{`[{"addresses":["x"]},{"addresses":["10.0.0.2"]}]`, "10.0.0.2", 1},
		{`[{"addresses":[]},{},{"nsg":"web"}]`, "", 0},
		{`[{"addresses":["127.0.0.1","::1"]}]`, "", 2},
		{`[` + strings.Repeat(`{"addresses":["bad"]},`, 1000) + `{"addresses":["10.0.0.2"]}]`, "10.0.0.2", maxFaults + 1},
	}
	for _, c := range cases {
		var n nodePods
		if err := json.Unmarshal([]byte(`{"metadata":{"name":"b","managedFields":[{"manager":"m"}]},"pods":`+c.pods+`}`), &n); err != nil {
			t.Fatal(err)
		}
		var kept []string
		for _, p := range n.Pods {
			for _, a := range p.Addresses {
				kept = append(kept, a.String())
			}
			if cap(p.Addresses) != len(p.Addresses) {
				t.Error("appending to a pod's addresses would write to another's")
			}
		}
		if strings.Join(kept, " ") != c.kept || len(n.Faults) != c.faults || n.Node != "b" || n.ManagedFields != nil {
			t.Errorf("%.80s: kept %v, faults %v", c.pods, kept, n.Faults)
		}
	}
	// Lists that read alike are told apart.
	var n nodePods
	if err := json.Unmarshal([]byte(`{"pods":[{"addresses":["10.0.0.1"],"asgs":["a b"]},{"addresses":["10.0.0.2"],"asgs":["a","b"]},{"addresses":["10.0.0.3"],"asgs":["a","b"]}]}`), &n); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%q", n.Pods[0].ASGs) + fmt.Sprintf("%q", n.Pods[1].ASGs); got != `["a b"]["a" "b"]` || &n.Pods[1].ASGs[0] != &n.Pods[2].ASGs[0] {
		t.Error(got)
	}
	t.Logf("%d cases", len(cases)+1)
}

func TestAnnotationsAreCut(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat(strings.Repeat("x", 512)+",", 20)
	p := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		AnnotationASGs: longest, AnnotationNSG: strings.Repeat("y", 200<<10)}}}
	pod, namespace := reducePod(p), reduceNamespace(p)
	if pod.ASGs != longest || !pod.HasASGs || len(pod.NSG) != maxChoice || !pod.HasNSG || namespace != pod.Choice {
		t.Errorf("kept %d and %d bytes", len(pod.ASGs), len(pod.NSG))
	}
	t.Logf("%d cases", 2)
}

func TestCopies(t *testing.T) {
	t.Parallel()
	list := &nodePodsList{Items: []nodePods{{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"k": "v"}}}}}
	one, all := list.Items[0].DeepCopyObject().(*nodePods), list.DeepCopyObject().(*nodePodsList)
	list.Items[0].Labels["k"] = "other"
	if one.Labels["k"] != "v" || all.Items[0].Labels["k"] != "v" || all.Items[0].Name != "b" {
		t.Error("a copy changes with the original")
	}
	t.Logf("%d cases", 2)
}

func FuzzNodePods(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"b","ownerReferences":[{"uid":"u"}]},"pods":[{"addresses":["10.0.0.1","fd00::1"],"nsg":"web","asgs":["x"]}]}`))
	f.Add([]byte(`{"pods":[{"addresses":["fe80::1%x",""]},null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var n nodePods
		if json.Unmarshal(data, &n) != nil {
			return
		}
		for _, p := range n.Pods {
			if len(p.Addresses) == 0 || slices.ContainsFunc(p.Addresses, func(a netip.Addr) bool { return !a.IsGlobalUnicast() || a.Zone() != "" || a.Is4In6() }) {
				t.Errorf("kept %v", p)
			}
		}
		if len(n.Faults) > maxFaults+1 {
			t.Errorf("%d faults", len(n.Faults))
		}
	})
}

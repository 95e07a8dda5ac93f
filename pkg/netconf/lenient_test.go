package netconf

import (
	"reflect"
	"testing"
)

// A configuration that was edited must not strand the pods it made.
func TestLenientAccepts(t *testing.T) {
	def := func(change func(*Conf)) *Conf {
		c := mustStrict(t, VNet, minimal)
		change(c)
		return c
	}
	same := func(*Conf) {}
	noIPAM := func(c *Conf) { c.IPAM.Pools = nil }
	rows := []struct {
		stdin string
		want  *Conf
	}{
		{minimal, def(same)},
		{with(`"filter":{"documents":["/etc/vnet"]},"Mode":1`), def(same)},
		{with(`"nsg":{"documents":["/etc/vnet"],"odd":1}`), def(func(c *Conf) { c.NSG = &NSG{Documents: []string{"/etc/vnet"}} })},
		{with(`"nsg":{"documents":["/a"]},"nsg":{"documents":["/b"]}`), def(func(c *Conf) { c.NSG = &NSG{Documents: []string{"/b"}} })},
		{with(`"nsg":{"documents":["etc"]},"runtimeConfig":` + annotations(`{"vnet-cni.io/nsg":7}`)), def(same)},
		{with(`"nsg":{"documents":["/b"]},"runtimeConfig":` + annotations(`{"vnet-cni.io/nsg":7,"vnet-cni.io/asgs":"web"}`)),
			def(func(c *Conf) { c.NSG = &NSG{Documents: []string{"/b"}}; c.PodASGs = []string{"web"} })},
		{with(`"mode":"flat","uplink":5,"mtu":"x","masquerade":7,"dns":"x"`), def(same)},
		{with(`"mtu":1,"masquerade":{"except":["x"]},"runtimeConfig":9,"prevResult":[1]`), def(same)},
		{with(`"mtu":1400,"mtu":1401`), def(func(c *Conf) { c.MTU = 1401 })},
		{with(`"runtimeConfig":{"ips":["10.241.4.9","x"],"mac":"02:00:00:00:00:01"}`), def(func(c *Conf) { c.FixedMAC = []byte{2, 0, 0, 0, 0, 1} })},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[null]}`), def(same)},
		{with(`"stateDir":"/run//vnet/"`), def(same)},
		{with(`"stateDir":"/x"`), def(func(c *Conf) { c.StateDir = "/x" })},
		{with("\"uplink\":\"eth\xff\""), def(same)},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/24"],"colour":1}]`), def(same)},
		{withPools(`[` + pool4 + `,{"subnet":"x"}]`), def(noIPAM)},
		{withPools(`[` + pool4 + `,` + pool4 + `]`), def(noIPAM)},
		{withIPAM(`"type":5,"cooldown":"x","pools":[` + pool4 + `]`), def(same)},
		{withIPAM(`"type":"vnet-ipam"`), def(noIPAM)},
		{withIPAM(`"type":"host-local","pools":5`), def(func(c *Conf) { noIPAM(c); c.IPAM.Type = "host-local" })},
		{`{"cniVersion":"1.0.0","name":"pods","ipam":7}`, def(noIPAM)},
		{`{"name":"pods"}`, def(func(c *Conf) { noIPAM(c); c.CNIVersion = "" })},
		{with(`"cni.dev/valid-attachments":[]`), def(func(c *Conf) { c.ValidAttachments = c.ValidAttachments[:0:0]; c.HasValidAttachments = true })},
	}
	for _, row := range rows {
		got, err := ParseLenient(VNet, []byte(row.stdin))
		if err != nil {
			t.Errorf("%s: %v", row.stdin, err)
			continue
		}
		if len(got.ValidAttachments) == 0 {
			got.ValidAttachments = nil // nil or empty: HasValidAttachments tells
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", row.stdin, got, row.want)
		}
	}
	t.Logf("%d configurations", len(rows))
}

func TestLenientRefuses(t *testing.T) {
	rows := []struct {
		stdin string
		code  uint
	}{
		{``, 6},
		{`[]`, 6},
		{`null`, 6},
		{`{"name":"pods"`, 6},
		{`{"name":"pods"} {}`, 6},
		{`{}`, 7},
		{`{"Name":"pods"}`, 7},
		{`{"name":5}`, 6},
		{`{"name":""}`, 7},
		{`{"name":"a/b"}`, 7},
		{"{\"name\":\"a\xffb\"}", 6},
		{`{"name":"a","name":"b"}`, 6},
		{`{"name":"a","stateDir":5}`, 6},
		{`{"name":"a","stateDir":null}`, 6},
		{`{"name":"a","stateDir":"x"}`, 7},
		{`{"name":"a","stateDir":""}`, 7},
		{"{\"name\":\"a\",\"stateDir\":\"/x\xff\"}", 6},
		{`{"name":"a","stateDir":"/x\u0000"}`, 7},
		{`{"name":"a","stateDir":"/x","stateDir":"/y"}`, 6},
		{`{"name":"a","cni.dev/valid-attachments":5}`, 6},
		{`{"name":"a","cni.dev/valid-attachments":{}}`, 6},
		{`{"name":"a","cni.dev/valid-attachments":[null]}`, 6},
		{`{"name":"a","cni.dev/valid-attachments":[{}]}`, 7},
		{`{"name":"a","cni.dev/valid-attachments":[{"containerid":"c","ifname":"eth0"}]}`, 7},
		{`{"name":"a","cni.dev/valid-attachments":[{"containerID":"c","ifname":""}]}`, 7},
		{`{"name":"a","cni.dev/valid-attachments":[{"containerID":"c","containerID":"d","ifname":"e"}]}`, 6},
		{`{"name":"a","cni.dev/valid-attachments":[],"cni.dev/valid-attachments":[]}`, 6},
	}
	for _, p := range []Plugin{VNet, VNetIPAM, VNetNSG} {
		for _, row := range rows {
			c, err := ParseLenient(p, []byte(row.stdin))
			if err == nil {
				t.Errorf("accepted %s as %+v", row.stdin, c)
				continue
			}
			if code := checkError(t, err); code != row.code {
				t.Errorf("%s: code %d, want %d: %v", row.stdin, code, row.code, err)
			}
		}
	}
	t.Logf("%d configurations for each plugin", len(rows))
}

// What ADD refuses for another reason than these, DEL still takes.
func TestLenientTakesWhatStrictRefuses(t *testing.T) {
	taken, refused := 0, 0
	for _, rows := range [][]brokenRow{brokenKeys(), brokenResults(), brokenForms(), brokenValues(), brokenNSG(), brokenAnnotations()} {
		for _, row := range rows {
			c, err := ParseLenient(VNet, []byte(row.stdin))
			if err != nil {
				checkError(t, err)
				refused++
				continue
			}
			taken++
			equal(t, "name of "+row.stdin[:min(len(row.stdin), 200)], c.Name, "pods")
		}
	}
	if taken < 100 || refused < 30 {
		t.Errorf("%d taken, %d refused", taken, refused)
	}
	t.Logf("of the broken configurations %d are taken and %d refused", taken, refused)
}

func TestAttachmentsAbsentEmptyAndNull(t *testing.T) {
	rows := []struct {
		stdin string
		has   bool
		count int
	}{
		{`{"name":"a"}`, false, 0},
		{`{"name":"a","cni.dev/attachments":[]}`, false, 0},
		{`{"name":"a","CNI.dev/valid-attachments":[]}`, false, 0},
		{`{"name":"a","cni.dev/valid-attachments":[]}`, true, 0},
		{`{"name":"a","cni.dev/valid-attachments":null}`, true, 0},
		{`{"name":"a","cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"}]}`, true, 1},
	}
	for _, row := range rows {
		c, err := ParseLenient(VNet, []byte(row.stdin))
		if err != nil || c.HasValidAttachments != row.has || len(c.ValidAttachments) != row.count {
			t.Errorf("%s: %+v, %v", row.stdin, c, err)
		}
	}
	t.Logf("%d configurations", len(rows))
}

// Nothing that the key nsg or an annotation can be keeps a pod from going.
func TestLenientNeverFailsByNSG(t *testing.T) {
	rows := append(brokenNSG(), brokenAnnotations()...)
	for _, row := range rows {
		for _, p := range []Plugin{VNet, VNetIPAM, VNetNSG} {
			if _, err := ParseLenient(p, []byte(row.stdin)); err != nil {
				t.Errorf("%s: %v", row.stdin[:min(len(row.stdin), 300)], err)
			}
		}
	}
	t.Logf("%d configurations for each plugin", len(rows))
}

package netconf

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

const (
	idA = "/subscriptions/s/resourceGroups/a/providers/Microsoft.Network/networkSecurityGroups/web-nsg"
	idB = "/subscriptions/s/resourceGroups/b/providers/Microsoft.Network/networkSecurityGroups/web-nsg"

	// Every key of nsg.
	filtered = `{"cniVersion":"1.0.0","name":"pods","type":"vnet","ipam":{"type":"vnet-ipam","pools":[` + pool4 + `]},
  "nsg": {"documents": ["/etc/vnet", "/var/lib/vnet/web.json"], "subnet": "aks-pods-nsg",
          "virtualNetwork": ["10.241.0.0/16", "fd00:10:241::/64"], "sameNode": "azure", "routeTable": "aks-routes",
          "allowed": {"shop": ["web-nsg", "` + idA + `"], "kube-system": ["*"], "none": []}, "namespaces": "/var/lib/vnet/namespaces"}}`
)

// withNSG is the minimal configuration with these members of nsg.
func withNSG(members string) string { return with(`"nsg":{` + members + `}`) }

// documents is withNSG with the one member that is required.
func documents(more string) string { return withNSG(`"documents":["/etc/vnet"],` + more) }

// annotations is a runtimeConfig with the value of the capability.
func annotations(value string) string { return `{"io.kubernetes.cri.pod-annotations":` + value + `}` }

// annotated is a network with an nsg whose pod has these annotations.
func annotated(value string) string {
	return with(`"runtimeConfig":` + annotations(value) + `,"nsg":{"documents":["/etc/vnet"]}`)
}

// numbered is n names that differ.
func numbered(n int, form string) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf(form, i))
	}
	return strings.Join(names, ",")
}

func brokenNSG() []brokenRow {
	return []brokenRow{
		{withNSG(`"documents":["/etc/vnet"],"document":1`), 2, `"nsg.document"`, `1; did you mean "documents"?`},
		{withNSG(`"documents":["/etc/vnet"],"Subnet":"x"`), 2, `"nsg.Subnet"`, `"x"; did you mean "subnet"?`},
		{documents(`"sameNodes":"azure"`), 2, `"nsg.sameNodes"`, `did you mean "sameNode"?`},
		{documents(`"allow":{}`), 2, `"nsg.allow"`, `{}`},
		{documents(`"virtualnetwork":[]`), 2, `"nsg.virtualnetwork"`, `did you mean "virtualNetwork"?`},
		{documents(`"routetable":""`), 2, `"nsg.routetable"`, `""; did you mean "routeTable"?`},
		{documents(`"namespace":"/n"`), 2, `"nsg.namespace"`, `"/n"; did you mean "namespaces"?`},
		{documents(`"cni.dev/x":1`), 2, `"nsg.cni.dev/x"`, `1`},

		{with(`"nsg":[]`), 6, `nsg`, `[]`},
		{with(`"nsg":"/etc/vnet"`), 6, `nsg`, `"/etc/vnet"`},
		{with(`"nsg":null,"nsg":{}`), 6, `nsg`, `the key is there twice`},
		{withNSG(`"documents":"/etc/vnet"`), 6, `nsg.documents`, `"/etc/vnet"`},
		{withNSG(`"documents":null`), 6, `nsg.documents`, `null`},
		{withNSG(`"documents":["/etc/vnet",5]`), 6, `nsg.documents[1]`, `5`},
		{documents(`"documents":["/x"]`), 6, `nsg.documents`, `["/x"]`},
		{documents(`"subnet":null`), 6, `nsg.subnet`, `null`},
		{documents(`"subnet":["x"]`), 6, `nsg.subnet`, `["x"]`},
		{documents(`"virtualNetwork":"10.0.0.0/8"`), 6, `nsg.virtualNetwork`, `"10.0.0.0/8"`},
		{documents(`"virtualNetwork":null`), 6, `nsg.virtualNetwork`, `null`},
		{documents(`"virtualNetwork":["10.0.0.0/8",10]`), 6, `nsg.virtualNetwork[1]`, `10`},
		{documents(`"namespaces":null`), 6, `nsg.namespaces`, `null`},
		{documents(`"namespaces":["/n"]`), 6, `nsg.namespaces`, `["/n"]`},
		{documents(`"namespaces":{"shop":{"nsg":"web"}}`), 6, `nsg.namespaces`, `{"shop":{"nsg":"web"}}`},
		{documents(`"namespaces":"/n","namespaces":"/m"`), 6, `nsg.namespaces`, `"/m"`},
		{documents(`"routeTable":null`), 6, `nsg.routeTable`, `null`},
		{documents(`"routeTable":["x"]`), 6, `nsg.routeTable`, `["x"]`},
		{documents(`"sameNode":true`), 6, `nsg.sameNode`, `true`},
		{documents(`"allowed":null`), 6, `nsg.allowed`, `null`},
		{documents(`"allowed":["web"]`), 6, `nsg.allowed`, `["web"]`},
		{documents(`"allowed":{"shop":"web"}`), 6, `nsg.allowed.shop`, `"web"`},
		{documents(`"allowed":{"shop":null}`), 6, `nsg.allowed.shop`, `null`},
		{documents(`"allowed":{"shop":["web",1]}`), 6, `nsg.allowed.shop[1]`, `1`},
		{documents(`"allowed":{"shop":[],"shop":["*"]}`), 6, `nsg.allowed.shop`, `["*"]`},

		{withNSG(``), 7, `nsg.documents`, `missing`},
		{withNSG(`"subnet":"x"`), 7, `nsg.documents`, `missing`},
		{withNSG(`"documents":[]`), 7, `nsg.documents`, `[]`},
		{withNSG(`"documents":["` + strings.ReplaceAll(numbered(65, "/d%d"), ",", `","`) + `"]`), 7, `nsg.documents`, `65 documents`},
		{withNSG(`"documents":[""]`), 7, `nsg.documents[0]`, `""`},
		{withNSG(`"documents":["etc/vnet"]`), 7, `nsg.documents[0]`, `"etc/vnet"`},
		{withNSG(`"documents":["/etc/vnet/"]`), 7, `nsg.documents[0]`, `write "/etc/vnet"`},
		{withNSG(`"documents":["/a","/b/../c"]`), 7, `nsg.documents[1]`, `write "/c"`},
		{withNSG(`"documents":["/a","/b","/a"]`), 7, `nsg.documents[2]`, `"/a" is there twice`},
		{withNSG(`"documents":["/a\u0000"]`), 7, `nsg.documents[0]`, `"/a\u0000"`},
		{documents(`"subnet":""`), 7, `nsg.subnet`, `""`},
		{documents(`"subnet":"a\u0007"`), 7, `nsg.subnet`, `"a\u0007"`},
		{documents(`"subnet":"my nsg"`), 7, `nsg.subnet`, `has a space`},
		{documents(`"subnet":"a,b"`), 7, `nsg.subnet`, `has a comma`},
		{documents(`"subnet":"*"`), 7, `nsg.subnet`, `"*"`},
		{documents(`"subnet":"/subscriptions/s/"`), 7, `nsg.subnet`, `ends with a slash`},
		{documents(`"subnet":"subscriptions/s/web"`), 7, `nsg.subnet`, `neither a name nor a resource id`},
		{documents(`"subnet":"` + strings.Repeat("n", 513) + `"`), 7, `nsg.subnet`, `512`},
		{documents(`"virtualNetwork":[]`), 7, `nsg.virtualNetwork`, `[]`},
		{documents(`"virtualNetwork":["10.0.0.0/8","10.1.0.1/16"]`), 7, `nsg.virtualNetwork[1]`, `write 10.1.0.0/16`},
		{documents(`"virtualNetwork":["VirtualNetwork"]`), 7, `nsg.virtualNetwork[0]`, `"VirtualNetwork"`},
		{documents(`"virtualNetwork":["::ffff:10.0.0.0/104"]`), 7, `nsg.virtualNetwork[0]`, `"::ffff:10.0.0.0/104"`},
		{documents(`"routeTable":"a b"`), 7, `nsg.routeTable`, `has a space`},
		{documents(`"routeTable":"*"`), 7, `nsg.routeTable`, `"*"`},
		{documents(`"routeTable":"/s/rt/"`), 7, `nsg.routeTable`, `ends with a slash`},
		{documents(`"routeTable":"rt/x"`), 7, `nsg.routeTable`, `neither a name nor a resource id`},
		{documents(`"sameNode":""`), 7, `nsg.sameNode`, `""`},
		{documents(`"sameNode":"Azure"`), 7, `nsg.sameNode`, `"Azure"`},
		{documents(`"namespaces":""`), 7, `nsg.namespaces`, `""`},
		{documents(`"namespaces":"namespaces"`), 7, `nsg.namespaces`, `"namespaces" is not an absolute path`},
		{documents(`"namespaces":"/n/"`), 7, `nsg.namespaces`, `write "/n"`},
		{documents(`"namespaces":"/n/../m"`), 7, `nsg.namespaces`, `write "/m"`},
		{documents(`"namespaces":"/n\u0000"`), 7, `nsg.namespaces`, `"/n\u0000"`},
		{documents(`"allowed":{"":["web"]}`), 7, `nsg.allowed`, `key ""`},
		{documents(`"allowed":{"*":["web"]}`), 7, `nsg.allowed`, `key "*"`},
		{documents(`"allowed":{"Shop":["web"]}`), 7, `nsg.allowed`, `key "Shop"`},
		{documents(`"allowed":{"shop-":["web"]}`), 7, `nsg.allowed`, `key "shop-"`},
		{documents(`"allowed":{"-shop":["web"]}`), 7, `nsg.allowed`, `key "-shop"`},
		{documents(`"allowed":{"a.b":["web"]}`), 7, `nsg.allowed`, `key "a.b"`},
		{documents(`"allowed":{"a\u001b":["web"]}`), 7, `nsg.allowed`, `key "a\x1b"`},
		{documents(`"allowed":{"` + strings.Repeat("n", 64) + `":["web"]}`), 7, `nsg.allowed`, `nnn`},
		{documents(`"allowed":{"shop":["web",""]}`), 7, `nsg.allowed.shop[1]`, `""`},
		{documents(`"allowed":{"shop":["web-*"," web"]}`), 7, `nsg.allowed.shop[1]`, `" web" has a space`},
		{documents(`"allowed":{"shop":["a/b"]}`), 7, `nsg.allowed.shop[0]`, `"a/b"`},
	}
}

func brokenAnnotations() []brokenRow {
	const at = `runtimeConfig.io.kubernetes.cri.pod-annotations`
	return []brokenRow{
		{annotated(`[]`), 6, at, `[]`},
		{annotated(`"vnet-cni.io/nsg=web"`), 6, at, `"vnet-cni.io/nsg=web"`},
		{annotated(`{"vnet-cni.io/nsg":5}`), 6, at + `.vnet-cni.io/nsg`, `5`},
		{annotated(`{"vnet-cni.io/nsg":null}`), 6, at + `.vnet-cni.io/nsg`, `null`},
		{annotated(`{"vnet-cni.io/asgs":["web"]}`), 6, at + `.vnet-cni.io/asgs`, `["web"]`},
		{annotated(`{"vnet-cni.io/nsg":"a","vnet-cni.io/nsg":"b"}`), 6, at + `.vnet-cni.io/nsg`, `"b"`},
		{annotated(`{"vnet-cni.io/nsg":""}`), 7, at + `.vnet-cni.io/nsg`, `""`},
		{annotated(`{"vnet-cni.io/nsg":"web,api"}`), 7, at + `.vnet-cni.io/nsg`, `"web,api"`},
		{annotated(`{"vnet-cni.io/nsg":"web\n"}`), 7, at + `.vnet-cni.io/nsg`, `"web\n"`},
		{annotated(`{"vnet-cni.io/asgs":""}`), 7, at + `.vnet-cni.io/asgs`, `""`},
		{annotated(`{"vnet-cni.io/asgs":"web,"}`), 7, at + `.vnet-cni.io/asgs`, `the entry "", which is empty`},
		{annotated(`{"vnet-cni.io/asgs":"web, api"}`), 7, at + `.vnet-cni.io/asgs`, `the entry " api", which has a space`},
		{annotated(`{"vnet-cni.io/asgs":"web,/s/applicationSecurityGroups/WEB"}`), 7, at + `.vnet-cni.io/asgs`, `has "web" twice`},
		{annotated(`{"vnet-cni.io/asgs":"*"}`), 7, at + `.vnet-cni.io/asgs`, `"*"`},
		{annotated(`{"vnet-cni.io/asgs":"` + numbered(21, "a%d") + `"}`), 7, at + `.vnet-cni.io/asgs`, `21 entries`},
	}
}

func TestNSG(t *testing.T) {
	equal(t, "every key", mustStrict(t, VNet, filtered).NSG, &NSG{
		Documents: []string{"/etc/vnet", "/var/lib/vnet/web.json"}, Subnet: "aks-pods-nsg", SameNodeFree: true, RouteTable: new("aks-routes"),
		VirtualNetwork: []netip.Prefix{netip.MustParsePrefix("10.241.0.0/16"), netip.MustParsePrefix("fd00:10:241::/64")},
		Allowed:        map[string][]string{"shop": {"web-nsg", idA}, "kube-system": {"*"}, "none": {}},
		Namespaces:     "/var/lib/vnet/namespaces",
	})
	etc := []string{"/etc/vnet"}
	rows := []struct {
		stdin string
		want  *NSG
	}{
		{minimal, nil},
		{with(`"nsg":null`), nil},
		{withNSG(`"documents":["/etc/vnet"]`), &NSG{Documents: etc}},
		{documents(`"sameNode":"filter","allowed":{}`), &NSG{Documents: etc, Allowed: map[string][]string{}}},
		{documents(`"routeTable":""`), &NSG{Documents: etc, RouteTable: new("")}},
		{documents(`"routeTable":"/s/rt/Routes"`), &NSG{Documents: etc, RouteTable: new("/s/rt/Routes")}},
		{documents(`"subnet":"` + idA + `"`), &NSG{Documents: etc, Subnet: idA}},
		{documents(`"subnet":"` + strings.Repeat("n", 512) + `"`), &NSG{Documents: etc, Subnet: strings.Repeat("n", 512)}},
		{withNSG(`"documents":["` + strings.ReplaceAll(numbered(64, "/d%d"), ",", `","`) + `"]`), &NSG{Documents: strings.Split(numbered(64, "/d%d"), ",")}},
	}
	for _, row := range rows {
		equal(t, row.stdin, mustStrict(t, VNet, row.stdin).NSG, row.want)
	}
	equal(t, "of the IPAM plugin", mustStrict(t, VNetIPAM, filtered).NSG, (*NSG)(nil))
	t.Logf("%d configurations", len(rows)+2)
}

func TestRequestedGroups(t *testing.T) {
	const both = `{"vnet-cni.io/nsg":"pod-nsg","vnet-cni.io/asgs":"Pod,/s/API","vnet-cni.io/other":"","x":1}`
	rows := []struct {
		stdin, args string
		nsg         string
		asgs        []string
	}{
		{minimal, "", "", nil},
		{documents(`"subnet":"x"`), "", "", nil},
		{annotated(`null`), "", "", nil},
		{annotated(`{}`), "", "", nil},
		{annotated(`{"VNET-CNI.io/nsg":"a","vnet-cni.io/asg":"b"}`), "", "", nil},
		{annotated(both), "", "pod-nsg", []string{"api", "pod"}},
		{annotated(both), "VNET_NSG=Web-NSG", "Web-NSG", []string{"api", "pod"}},
		{annotated(both), "VNET_ASGS=web,/s/a/Alpha", "pod-nsg", []string{"alpha", "web"}},
		{annotated(both), "VNET_ASGS=" + numbered(20, "a%02d") + ";VNET_NSG=" + idA, idA, strings.Split(numbered(20, "a%02d"), ",")},
		// Without nsg no annotation counts, not even a wrong one.
		{with(`"runtimeConfig":` + annotations(both)), "", "", nil},
		{with(`"runtimeConfig":` + annotations(`{"vnet-cni.io/nsg":5}`)), "", "", nil},
		{with(`"nsg":null,"runtimeConfig":` + annotations(`7`)), "", "", nil},
	}
	for _, row := range rows {
		c := mustStrict(t, VNet, row.stdin)
		args, err := ParseArgs(row.args)
		if err != nil {
			t.Fatalf("%s: %v", row.args, err)
		}
		equal(t, "NSG of "+row.stdin+" "+row.args, c.RequestedNSG(args), row.nsg)
		equal(t, "ASGs of "+row.stdin+" "+row.args, c.RequestedASGs(args), row.asgs)
	}
	t.Logf("%d requests", len(rows))
}

// The pod of the annotations may be on many networks; who writes CNI_ARGS means this one.
func TestCheckArgs(t *testing.T) {
	rows := []struct{ stdin, args, want string }{
		{minimal, "", ""},
		{minimal, "IP=10.241.4.9", ""},
		{minimal, "VNET_NSG=web", `CNI_ARGS: VNET_NSG: value "web"`},
		{minimal, "VNET_ASGS=api,web;IgnoreUnknown=1", `CNI_ARGS: VNET_ASGS: value "api"`},
		{with(`"nsg":null`), "VNET_NSG=web;VNET_ASGS=api", `network "pods" has no nsg`},
		{with(`"runtimeConfig":` + annotations(`{"vnet-cni.io/nsg":"a"}`)), "", ""},
		{annotated(`{}`), "VNET_NSG=web;VNET_ASGS=api", ""},
		{documents(`"subnet":"x"`), "K8S_POD_NAMESPACE=../shop", ""},
		{byNamespace, "VNET_NSG=web", ""},
		{byNamespace, "K8S_POD_NAMESPACE=", ""},
		{byNamespace, "K8S_POD_NAMESPACE=shop-2;VNET_NSG=web", ""},
		{byNamespace, "K8S_POD_NAMESPACE=..", `CNI_ARGS: K8S_POD_NAMESPACE: value ".."`},
		{byNamespace, "K8S_POD_NAMESPACE=../shop", `value "../shop"`},
		{byNamespace, "K8S_POD_NAMESPACE=a/b;VNET_NSG=web;VNET_ASGS=api", `value "a/b"`},
		{byNamespace, "K8S_POD_NAMESPACE=Shop", `value "Shop"`},
		{byNamespace, "K8S_POD_NAMESPACE=.shop", `value ".shop"`},
	}
	for _, row := range rows {
		args, err := ParseArgs(row.args)
		if err != nil {
			t.Fatalf("%s: %v", row.args, err)
		}
		err = mustStrict(t, VNet, row.stdin).CheckArgs(args)
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", row.args, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: accepted", row.args)
			continue
		}
		if code := checkError(t, err); code != 4 || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: code %d: %v", row.args, code, err)
		}
	}
	t.Logf("%d requests", len(rows))
}

func TestPermits(t *testing.T) {
	some := mustStrict(t, VNet, documents(`"allowed":{"shop":["web-nsg","API"],"one":["`+idA+`"],"any":["*"],"none":[]}`))
	nobody := mustStrict(t, VNet, documents(`"allowed":{}`))
	everybody := mustStrict(t, VNet, documents(`"subnet":"x"`))
	rows := []struct {
		conf            *Conf
		namespace, name string
		want            bool
	}{
		{everybody, "shop", "web-nsg", true},
		{mustStrict(t, VNet, minimal), "shop", "web-nsg", true},
		{nobody, "shop", "web-nsg", false},
		{nobody, "", "web-nsg", true},
		{some, "", "web-nsg", true},
		{some, "shop", "web-nsg", true},
		{some, "shop", "WEB-nsg", true},
		{some, "shop", "api", true},
		{some, "shop", idA, true},
		{some, "shop", idB, true},
		{some, "shop", "web", false},
		{some, "shop", "web-nsg-2", false},
		{some, "shop", "*", false},
		{some, "shop", "", false},
		{some, "shop", "/s/web-nsg/other", false},
		{some, "Shop", "web-nsg", false},
		{some, "one", idA, true},
		{some, "one", strings.ToUpper(idA), true},
		{some, "one", "web-nsg", true},
		{some, "one", idB, false},
		{some, "one", "resourceGroups", false},
		{some, "any", "whatever", true},
		{some, "any", idB, true},
		{some, "none", "web-nsg", false},
		{some, "absent", "web-nsg", false},
	}
	for _, row := range rows {
		if got := row.conf.Permits(row.namespace, row.name); got != row.want {
			t.Errorf("%v: namespace %q, %q: %v", row.conf.NSG, row.namespace, row.name, got)
		}
	}
	t.Logf("%d questions", len(rows))
}

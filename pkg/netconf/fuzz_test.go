package netconf

import (
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func addSeeds(f *testing.F) {
	f.Helper()
	for _, s := range []string{minimal, full, everything, filtered, annotated(`{"vnet-cni.io/nsg":"web-nsg","vnet-cni.io/asgs":"web,api"}`)} {
		f.Add([]byte(s))
	}
	for _, rows := range [][]brokenRow{brokenKeys(), brokenForms(), brokenResults(), brokenValues(), brokenNSG(), brokenAnnotations()} {
		for _, row := range rows {
			if len(row.stdin) < 4096 {
				f.Add([]byte(row.stdin))
			}
		}
	}
}

// FuzzParseStrict: what ADD takes, DEL takes too, and finds the same leases by it.
func FuzzParseStrict(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, stdin []byte) {
		for _, p := range []Plugin{VNet, VNetIPAM, VNetNSG} {
			strict, err := ParseStrict(p, stdin)
			if err != nil {
				checkError(t, err)
				continue
			}
			lenient, err := ParseLenient(p, stdin)
			if err != nil {
				t.Fatalf("strict takes what lenient refuses: %v", err)
			}
			if !reflect.DeepEqual(strict, lenient) {
				t.Fatalf("strict %+v, lenient %+v", strict, lenient)
			}
		}
	})
}

// FuzzParseLenient: whatever is left is fit to name files and links.
func FuzzParseLenient(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, stdin []byte) {
		for _, p := range []Plugin{VNet, VNetIPAM, VNetNSG} {
			c, err := ParseLenient(p, stdin)
			if err != nil {
				checkError(t, err)
				continue
			}
			if nameFault(c.Name, maxNetworkName) != "" || !strings.HasPrefix(c.StateDir, "/") || !allPrintable(c.StateDir) {
				t.Fatalf("unfit: %+v", c)
			}
			if c.Uplink != "" && ifNameFault(c.Uplink) != "" || fileNameFault(c.IPAM.Type) != "" || !c.HasValidAttachments && c.ValidAttachments != nil {
				t.Fatalf("unfit: %+v", c)
			}
			checkGroups(t, c.NSG, c.PodNSG, c.PodASGs)
		}
	})
}

// checkGroups holds what was read to the bounds that its users rely on.
func checkGroups(t *testing.T, n *NSG, podNSG string, podASGs []string) {
	t.Helper()
	names := append([]string{}, podASGs...)
	if podNSG != "" {
		names = append(names, podNSG)
	}
	if n != nil {
		if len(n.Documents) == 0 || len(n.Documents) > maxDocuments || n.VirtualNetwork != nil && len(n.VirtualNetwork) == 0 {
			t.Fatalf("unfit: %+v", n)
		}
		for _, d := range n.Documents {
			if path.Clean(d) != d || !path.IsAbs(d) {
				t.Fatalf("unfit: %q", d)
			}
		}
		if n.Namespaces != "" && (path.Clean(n.Namespaces) != n.Namespaces || !path.IsAbs(n.Namespaces)) {
			t.Fatalf("unfit: %q", n.Namespaces)
		}
		if n.Subnet != "" {
			names = append(names, n.Subnet)
		}
	}
	for _, name := range names {
		if groupFault(name) != "" || asgName(name) == "" {
			t.Fatalf("unfit: %q", name)
		}
	}
	if len(podASGs) > maxASGs {
		t.Fatalf("%d ASGs", len(podASGs))
	}
}

// FuzzReadDefault: what is read is within the bounds, and reads as itself again.
func FuzzReadDefault(f *testing.F) {
	for _, row := range defaultRows() {
		f.Add([]byte(row.document))
	}
	for _, row := range brokenDefaults() {
		f.Add([]byte(row.stdin))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadDefault(data)
		if err != nil {
			checkError(t, err)
			return
		}
		var asgs []string
		if d.ASGs != "" {
			asgs = strings.Split(d.ASGs, ",")
		}
		checkGroups(t, nil, d.NSG, asgs)
		if names := d.ASGNames(); len(names) != len(asgs) || !slices.IsSorted(names) {
			t.Fatalf("%q gives %q", d.ASGs, names)
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := ReadDefault(again); err != nil || same != d {
			t.Fatalf("%s: %+v, %v", again, same, err)
		}
	})
}

func FuzzParseArgs(f *testing.F) {
	for _, s := range []string{
		"", ";", "IP=10.1.2.3/16,fd00::3;MAC=02:00:00:00:00:01", "IgnoreUnknown=1;K8S_POD_NAME=p;K8S_POD_NAMESPACE=n;X=y",
		"VNET_NSG=web-nsg;VNET_ASGS=web,/subscriptions/s/API", "VNET_ASGS=a,A", "IP=::ffff:1.2.3.4", "MAC=ff:ff:ff:ff:ff:ff", "A=b=c", "\xff=\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args, err := ParseArgs(s)
		if err != nil {
			if code := checkError(t, err); code != 4 {
				t.Fatalf("code %d: %v", code, err)
			}
			return
		}
		checkGroups(t, nil, args.NSG, args.ASGs)
		if asgs := (&Conf{}).RequestedASGs(args); len(asgs) != len(args.ASGs) || !slices.IsSorted(asgs) {
			t.Fatalf("%q requests %q", s, asgs)
		}
		if err := (&Conf{}).CheckArgs(args); err != nil {
			checkError(t, err)
		}
		defaults := &Conf{NSG: &NSG{Namespaces: "/n"}}
		if file := defaults.DefaultFile(args); file != "" && defaults.CheckArgs(args) == nil && path.Dir(path.Clean(file)) != "/n" {
			t.Fatalf("%q reads %s", s, file)
		}
		for _, a := range args.IP {
			if UnicastFault(a) != "" {
				t.Fatalf("%q gives %v", s, a)
			}
		}
		if err := ValidateAttachment(s, s); err != nil {
			checkError(t, err)
		}
	})
}

// FuzzPrevResult: no result makes the CNI library's converters fault, and what
// is accepted can be walked without looking for nil.
func FuzzPrevResult(f *testing.F) {
	for _, row := range brokenResults() {
		_, result, _ := strings.Cut(row.stdin, `"prevResult":`)
		f.Add("1.0.0", strings.TrimSuffix(result, "}"))
	}
	f.Add("0.2.0", `{"cniVersion":"0.2.0","ip4":{"ip":"10.241.4.9/16","routes":[{"dst":"0.0.0.0/0"}]},"ip6":null}`)
	f.Add("0.4.0", `{"ips":[{"version":"4","address":"10.241.4.9/16","interface":0}],"interfaces":[{"name":"e"}],"IPS":[null]}`)
	f.Add("1.1.0", `{"routes":[{"dst":"::/0","gw":"fe80::1","table":0,"scope":null}],"dns":{"nameservers":null}}`)
	f.Fuzz(func(t *testing.T, version, result string) {
		stdin := strings.Replace(minimal, "1.0.0", version, 1)
		stdin = strings.TrimSuffix(stdin, "}") + `,"prevResult":` + result + `}`
		c, err := ParseStrict(VNet, []byte(stdin))
		if err != nil {
			checkError(t, err)
			return
		}
		if c.PrevResult == nil {
			return
		}
		for _, ip := range c.PrevResult.IPs {
			if ip.Interface != nil {
				_ = c.PrevResult.Interfaces[*ip.Interface].Name
			}
			_ = ip.Address.String()
		}
		for _, r := range c.PrevResult.Routes {
			_ = r.Dst.String()
		}
	})
}

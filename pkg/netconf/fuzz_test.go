package netconf

import (
	"reflect"
	"strings"
	"testing"
)

func addSeeds(f *testing.F) {
	f.Helper()
	for _, s := range []string{minimal, full, everything} {
		f.Add([]byte(s))
	}
	for _, rows := range [][]brokenRow{brokenKeys(), brokenForms(), brokenResults(), brokenValues()} {
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
		for _, p := range []Plugin{VNet, VNetIPAM} {
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
		for _, p := range []Plugin{VNet, VNetIPAM} {
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
		}
	})
}

func FuzzParseArgs(f *testing.F) {
	for _, s := range []string{
		"", ";", "IP=10.1.2.3/16,fd00::3;MAC=02:00:00:00:00:01", "IgnoreUnknown=1;K8S_POD_NAME=p;K8S_POD_NAMESPACE=n;X=y",
		"IP=::ffff:1.2.3.4", "MAC=ff:ff:ff:ff:ff:ff", "A=b=c", "\xff=\x00",
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
		for _, a := range args.IP {
			if unicastFault(a) != "" {
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

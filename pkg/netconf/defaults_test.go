package netconf

import (
	"strings"
	"testing"
)

// byNamespace is a network with defaults by namespace.
var byNamespace = documents(`"namespaces":"/var/lib/vnet/namespaces"`)

type defaultRow struct {
	document string
	want     Default
	names    []string
}

func defaultRows() []defaultRow {
	twenty := numbered(20, "a%02d")
	return []defaultRow{
		{`{}`, Default{}, nil},
		{" {\n} \n", Default{}, nil},
		{`{"nsg":"web-nsg"}`, Default{NSG: "web-nsg"}, nil},
		{`{"nsg":"` + idA + `","asgs":"web"}`, Default{NSG: idA, ASGs: "web"}, []string{"web"}},
		{`{"asgs":"Web,/s/applicationSecurityGroups/API"}`, Default{ASGs: "Web,/s/applicationSecurityGroups/API"}, []string{"api", "web"}},
		{`{"asgs":"` + twenty + `"}`, Default{ASGs: twenty}, strings.Split(twenty, ",")},
	}
}

func TestReadDefault(t *testing.T) {
	for _, row := range defaultRows() {
		d, err := ReadDefault([]byte(row.document))
		if err != nil {
			t.Errorf("%s: %v", row.document, err)
		}
		equal(t, row.document, d, row.want)
		equal(t, "ASGs of "+row.document, d.ASGNames(), row.names)
	}
	t.Logf("%d documents", len(defaultRows()))
}

func brokenDefaults() []brokenRow {
	return []brokenRow{
		{`{"nsgs":"web"}`, 2, `unknown key "default.nsgs"`, `"web"; did you mean "nsg"?`},
		{`{"NSG":"web"}`, 2, `"default.NSG"`, `did you mean "nsg"?`},
		{`{"asg":"web"}`, 2, `"default.asg"`, `"web"`},
		{`{"cni.dev/nsg":"web"}`, 2, `"default.cni.dev/nsg"`, `"web"`},

		{``, 6, `default is not JSON`, `""`},
		{`{"nsg":"web`, 6, `default is not JSON`, `web`},
		{`{} {}`, 6, `default is not JSON`, `'{'`},
		{`null`, 6, `default`, `null`},
		{`"web"`, 6, `default`, `"web"`},
		{`["web"]`, 6, `default`, `["web"]`},
		{"{\"nsg\":\"\xff\"}", 6, `default`, `UTF-8`},
		{`{"nsg":null}`, 6, `default.nsg`, `null`},
		{`{"nsg":5}`, 6, `default.nsg`, `5`},
		{`{"nsg":"a","nsg":"a"}`, 6, `default.nsg`, `twice`},
		{`{"asgs":["web"]}`, 6, `default.asgs`, `["web"]`},

		{`{"nsg":""}`, 7, `default.nsg`, `""`},
		{`{"nsg":"*"}`, 7, `default.nsg`, `"*"`},
		{`{"nsg":"web nsg"}`, 7, `default.nsg`, `has a space`},
		{`{"nsg":"web,api"}`, 7, `default.nsg`, `"web,api"`},
		{`{"nsg":"` + strings.Repeat("n", 513) + `"}`, 7, `default.nsg`, `512`},
		{`{"asgs":""}`, 7, `default.asgs`, `""`},
		{`{"asgs":"web,"}`, 7, `default.asgs`, `the entry ""`},
		{`{"asgs":"web,WEB"}`, 7, `default.asgs`, `has "web" twice`},
		{`{"asgs":"` + numbered(21, "a%d") + `"}`, 7, `default.asgs`, `21 entries`},
	}
}

func TestReadBrokenDefault(t *testing.T) {
	for _, row := range brokenDefaults() {
		d, err := ReadDefault([]byte(row.stdin))
		if err == nil {
			t.Errorf("accepted %s as %+v", row.stdin, d)
			continue
		}
		equal(t, "what is left of "+row.stdin, d, Default{})
		if code := checkError(t, err); code != row.code || !strings.Contains(err.Error(), row.field) || !strings.Contains(err.Error(), row.value) {
			t.Errorf("%s: code %d, want %d, %q and %q: %v", row.stdin, code, row.code, row.field, row.value, err)
		}
	}
	t.Logf("%d broken documents", len(brokenDefaults()))
}

func TestDefaultFile(t *testing.T) {
	rows := []struct{ stdin, args, want string }{
		{minimal, "K8S_POD_NAMESPACE=shop", ""},
		{documents(`"subnet":"x"`), "K8S_POD_NAMESPACE=shop", ""},
		{byNamespace, "", ""},
		{byNamespace, "K8S_POD_NAME=shop", ""},
		{byNamespace, "K8S_POD_NAMESPACE=shop", "/var/lib/vnet/namespaces/shop"},
		{byNamespace, "K8S_POD_NAMESPACE=shop;VNET_NSG=web", "/var/lib/vnet/namespaces/shop"},
	}
	for _, row := range rows {
		args, err := ParseArgs(row.args)
		if err != nil {
			t.Fatalf("%s: %v", row.args, err)
		}
		equal(t, row.stdin+" "+row.args, mustStrict(t, VNet, row.stdin).DefaultFile(args), row.want)
	}
	t.Logf("%d calls", len(rows))
}

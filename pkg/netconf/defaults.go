package netconf

import (
	"encoding/json"
	"strings"
)

// Default is what the pods of one Kubernetes namespace get where they choose
// nothing themselves, as the namespace's annotations say it. An empty field is no
// default.
type Default struct {
	NSG  string `json:"nsg,omitempty"`  // name or resource id
	ASGs string `json:"asgs,omitempty"` // names or resource ids, comma separated, at most 20
}

// defaultPath is how errors call the document.
const defaultPath = "default"

// ReadDefault reads the document of one namespace as strictly as a configuration:
// what cannot be understood must not leave a pod without its filter. Errors have
// the codes of ParseStrict and name key and value.
func ReadDefault(data []byte) (Default, error) {
	var def Default
	d := &decoder{}
	if err := d.wellFormed(defaultPath, data); err != nil {
		return Default{}, err
	}
	err := d.object(defaultPath, data, []field{
		{key: "nsg", set: func(path string, raw json.RawMessage) (err error) {
			def.NSG, err = group(path, raw)
			return err
		}},
		{key: "asgs", set: func(path string, raw json.RawMessage) error {
			list, err := groups(path, raw)
			def.ASGs = strings.Join(list, ",")
			return err
		}},
	}, false)
	if err != nil {
		return Default{}, err
	}
	return def, nil
}

// ASGNames are the names of the ASGs: the last segments of resource ids, in lower
// case, sorted, each once.
func (d Default) ASGNames() []string {
	if d.ASGs == "" {
		return nil
	}
	return asgNames(strings.Split(d.ASGs, ","))
}

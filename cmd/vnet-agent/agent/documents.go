package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// documents is what the agent remembers of the documents on the node.
type documents struct {
	networks *arm.Documents           // their virtual networks; nil before the first reading
	findings map[string][]nsg.Finding // by ConfigMap
}

// writeDocuments gives the node the documents of the cluster, all of one moment,
// and the defaults of the namespaces.
func (p *pass) writeDocuments(context.Context) error {
	files, owners := map[string][]byte{}, map[string]string{}
	for _, d := range p.Cluster.Documents() {
		for key, content := range d.Files {
			name := nodefiles.DocumentName(d.Name, documentKey(key))
			files[name], owners[name] = content, d.Name
		}
	}
	changed, err := nodefiles.WriteGeneration(p.documentsDir(), files)
	if err != nil {
		return err
	}
	if changed {
		p.Log.Info("wrote documents", "files", len(files))
	}
	if changed || p.documents.networks == nil {
		p.documents = readDocuments(p.currentDocuments(), owners)
	}
	defaults := map[string]netconf.Default{}
	for name, c := range p.Cluster.Namespaces() {
		defaults[name] = netconf.Default{NSG: c.NSG, ASGs: c.ASGs}
	}
	_, err = nodefiles.WriteDefaults(p.defaultsDir(), defaults)
	return err
}

// documentKey makes a document also of a key that does not say that it is one: it is
// in a ConfigMap of documents.
func documentKey(key string) string {
	if ext := filepath.Ext(key); strings.EqualFold(ext, ".json") || strings.EqualFold(ext, ".jsonc") {
		return key
	}
	return key + ".json"
}

// readDocuments keeps little of what may be megabytes of service tags.
func readDocuments(folder string, owners map[string]string) documents {
	read := arm.Load([]string{folder})
	out := documents{
		networks: &arm.Documents{VirtualNetworks: read.VirtualNetworks},
		findings: map[string][]nsg.Finding{},
	}
	for _, f := range policy.Findings(read) {
		name := filepath.Base(f.File)
		if owner, known := owners[name]; known {
			f.File = strings.TrimPrefix(name, owner+"_")
			out.findings[owner] = append(out.findings[owner], f)
		}
	}
	return out
}

// documentsRejected is the reason of the Event that says so.
const documentsRejected = "DocumentsRejected"

// maxFindings bounds the annotation of a ConfigMap: Kubernetes allows 256 KiB for
// all of an object's annotations.
const maxFindings = 50

// tellFindings writes what is wrong with the documents to where they came from.
func (p *pass) tellFindings(ctx context.Context) error {
	var errs []error
	for _, d := range p.Cluster.Documents() {
		errs = append(errs, p.tellFindingsOf(ctx, d))
	}
	if why := policy.Rejected(p.Paths.State, p.config.Network); why != "" {
		p.tellNode(documentsRejected, "the last good documents stay in force: "+why)
	} else {
		p.untell(kube.NodeRef(p.Node, documentsRejected))
	}
	return errors.Join(errs...)
}

func (p *pass) tellFindingsOf(ctx context.Context, d kube.Document) error {
	findings := p.documents.findings[d.Name]
	text := ""
	if len(findings) > 0 {
		data, err := json.Marshal(findings[:min(len(findings), maxFindings)])
		if err != nil {
			return fmt.Errorf("write the findings about ConfigMap %s: %w", d.Name, err)
		}
		text = string(data)
	}
	wrote, err := p.Cluster.Annotate(ctx, d.Name, text)
	if err != nil || !wrote {
		return err // another node's agent has told it
	}
	for i, f := range findings {
		if i == maxEvents {
			break
		}
		p.Cluster.Event(kube.DocumentRef(d), f.Severity == nsg.Error, f.Code, eventText(f))
	}
	return nil
}

// maxEvents is how many of a ConfigMap's findings become Events. The annotation
// has more.
const maxEvents = 5

func eventText(f nsg.Finding) string {
	var b strings.Builder
	for _, part := range []struct{ what, value string }{{"", f.File}, {"NSG ", f.NSG}, {"rule ", f.Rule}, {"", f.Property}} {
		if part.value != "" {
			b.WriteString(part.what + part.value + ": ")
		}
	}
	if f.Value != "" {
		fmt.Fprintf(&b, "value %q: ", f.Value)
	}
	return b.String() + f.Message
}

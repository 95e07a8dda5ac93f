package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// difference is one assertion that does not hold, in the output for programs.
type difference struct {
	Entry    int         `json:"entry"` // in the file, from 1
	Line     int         `json:"line"`
	Name     string      `json:"name"`
	Flow     flowText    `json:"flow"`
	Expected expectation `json:"expected"`
	Got      flowAnswer  `json:"got"`
}

// expectation is what an assertion says.
type expectation struct {
	Access nsg.Access `json:"access"`
	Rule   string     `json:"rule,omitempty"` // with or without its kind; "": any
}

// holds reports whether the answer is as expected. Azure compares names in any case.
func (e expectation) holds(got flowAnswer) bool {
	_, bare, _ := strings.Cut(got.RuleName, "/")
	return e.Access == got.Access &&
		(e.Rule == "" || strings.EqualFold(e.Rule, got.RuleName) || strings.EqualFold(e.Rule, bare))
}

func (e expectation) String() string { return strings.TrimSpace(e.Access.String() + " " + e.Rule) }

func (a *app) assertCommand() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "assert FILE",
		Short: "Compare what flows are told with what is expected",
		Long: "Judge the flows of a YAML file, which is a list of {direction, protocol, local, remote, localASGs,\n" +
			"remoteASGs, access, rule, name}, by the security groups of documents or as a running pod's are\n" +
			"judged. The exit status is 1 if any access, or rule where one is given, is another than expected.",
		Example: "  vnetctl assert flows.yaml --documents nsg.json --nsg web-nsg\n\n" +
			"  # flows.yaml\n" +
			"  - {name: web is open, direction: Inbound, protocol: TCP, local: \"10.241.0.4:443\",\n" +
			"     remote: \"203.0.113.9:*\", access: Allow, rule: allow-web}",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
		RunE: func(c *cobra.Command, args []string) error {
			if err := s.check(c); err != nil {
				return err
			}
			return a.assert(&s, args[0])
		},
	}
	s.register(a, c)
	return c
}

func (a *app) assert(s *source, file string) error {
	assertions, err := readAssertions(file)
	if err != nil {
		return err
	}
	j, err := s.judges(a)
	if err != nil {
		return err
	}
	differences := []difference{}
	for i, as := range assertions {
		_, v, err := j.ask(&as.flow)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, as.line, err)
		}
		if got := j.answers[v.Rule]; !as.expected.holds(got) {
			differences = append(differences, difference{i + 1, as.line, as.name, as.flow, as.expected, got})
		}
	}
	if err := a.printDifferences(differences, len(assertions)); err != nil {
		return err
	}
	if len(differences) > 0 {
		return errReported
	}
	return nil
}

func (a *app) printDifferences(differences []difference, flows int) error {
	if a.json() {
		return a.printJSON(differences)
	}
	if len(differences) > 0 {
		rows := [][]string{{"LINE", "NAME", "FLOW", "EXPECTED", "GOT", "NSG"}}
		for _, d := range differences {
			rows = append(rows, []string{strconv.Itoa(d.Line), orDash(cell(d.Name, maxValueCell)), cell(d.Flow.String(), 0),
				cell(d.Expected.String(), 0), cell(strings.TrimSpace(d.Got.Access.String()+" "+d.Got.RuleName), 0), orDash(cell(d.Got.NSG, maxNameCell))})
		}
		if err := a.printTable(rows); err != nil {
			return err
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	return a.printf("%s, %s\n", counted(flows, "flow"), counted(len(differences), "difference"))
}

// String is the flow in one line.
func (t flowText) String() string {
	arrow := "->"
	if strings.EqualFold(t.Direction, nsg.Inbound.String()) {
		arrow = "<-"
	}
	local := t.Local
	if local == "" {
		local = "pod"
	}
	return fmt.Sprintf("%s %s %s %s", t.Protocol, local, arrow, t.Remote)
}

// Package docs checks the documents against the tree: whatever they name must exist, and what a reader must be able to look
// up must be explained. It reads sources as text and syntax, and must never need a build, a cluster or the network.
package docs_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

const (
	root       = ".."
	operations = "docs/operations.md"
	security   = "docs/security.md"
	plugin     = "docs/kubectl.md"
)

func TestDocuments(t *testing.T) {
	t.Parallel()
	known := readTree(t)
	for _, each := range readDocuments(t) {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			for _, complaint := range complaints(each, known) {
				t.Error(complaint)
			}
		})
	}
}

// TestFaultsAreFound shows that each check can fail.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	known := readTree(t)
	for name, c := range map[string]struct{ text, want string }{
		"a link to nowhere":                       {"[a](docs/nowhere.md)", "docs/nowhere.md"},
		"a link to a heading that is not there":   {"[a](docs/operations.md#nowhere)", "#nowhere"},
		"a path that is gone":                     {"`internal/browser`", "internal/browser"},
		"a path with a misspelt first folder":     {"`internel/oauth`", "internel/oauth"},
		"a file that is gone":                     {"`gone.go`", "gone.go"},
		"a path in a command":                     {"```sh\nkubectl apply -k config/nowhere\n```", "config/nowhere"},
		"a target that is gone":                   {"run `make nothing`", "make nothing"},
		"a variable that no target reads":         {"run `make test NOTHING=1`", "NOTHING"},
		"a flag that is gone":                     {"set `--nothing`", "--nothing"},
		"a flag of the provider that is gone":     {"`bin/demo/provider --nothing`", "--nothing"},
		"a flag that is gone, in a manifest":      {"```yaml\nargs:\n- --nothing=1\n```", "--nothing"},
		"a metric that is gone":                   {"oauth_operator_nothing_total", "oauth_operator_nothing_total"},
		"a reason that is gone":                   {"the reason `RefreshTokenForgotten`", "RefreshTokenForgotten"},
		"a test by an id that no test has":        {"see S99", "S99"},
		"a manifest with an unknown field":        {"```yaml\nkind: OAuthClient\nspec: {clientId: mine}\n```", "clientId"},
		"a code span that goes over a line break": {"some `code\nspan`", "code span"},
		"a file that is shown otherwise":          {"<!-- the file go.mod -->\n```text\nmodule other\n```", "go.mod"},
		"a file that is announced and not shown":  {"<!-- the file go.mod -->\n\nHere it is:", "go.mod"},
		"a file that is shown and is gone":        {"<!-- the file gone.txt -->\n```text\n```", "gone.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := complaints(parseDocument("README.md", c.text), known)
			if len(got) != 1 && !strings.Contains(name, "line break") || !strings.Contains(strings.Join(got, "\n"), c.want) {
				t.Errorf("got %q, want one complaint about %s", got, c.want)
			}
		})
	}
}

// What a reader must be able to look up is the first cell of a row of a table in operations.md, and all cells say something.
// Each reason has a heading, which alerts and programs lead to, and below it what it means and who acts.
func TestOperationsExplainsEverything(t *testing.T) {
	t.Parallel()
	known := readTree(t)
	document := readDocument(t, operations)
	explained := rows(document)
	for _, reason := range slices.Sorted(maps.Keys(known.reasons)) {
		_, rest, found := strings.Cut(document.text, "\n#### "+reason+"\n\n")
		means, _, _ := strings.Cut(rest, "\n#")
		if !found || !strings.HasPrefix(means, "Condition") || !strings.Contains(means, "\n\n**Who acts:** ") {
			t.Errorf("%s does not explain the reason %s: it wants a heading, the condition, what it means, and who acts", operations, reason)
		}
	}
	if len(known.reasons) == 0 {
		t.Error("the sources have no reasons")
	}
	for what, wanted := range map[string]map[string]bool{"flag": known.flags, "metric": known.metrics} {
		if len(wanted) == 0 {
			t.Errorf("the sources have no %s: this test does not know how to look for it any more", what)
		}
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if cells := explained[name]; len(cells) < 4 && (what != "flag" || len(cells) < 3) || slices.Contains(cells, "") {
				t.Errorf("%s does not explain the %s %s: it wants a row that begins with `%s`, without empty cells", operations, what, name, name)
			}
		}
	}
}

// Each flag and each command of kubectl oauth is the first cell of a row of a table in kubectl.md.
func TestThePluginIsExplained(t *testing.T) {
	t.Parallel()
	known := readTree(t)
	explained := rows(readDocument(t, plugin))
	if len(known.pluginFlags) == 0 {
		t.Error("the sources have no flags: this test does not know how to look for them any more")
	}
	for _, name := range slices.Sorted(maps.Keys(known.pluginFlags)) {
		if len(explained[name]) == 0 {
			t.Errorf("%s does not explain %s: it wants a row that begins with `%s`", plugin, name, name)
		}
	}
}

// Each claim names what shows it, and all of that exists.
func TestSecurityClaimsAreShown(t *testing.T) {
	t.Parallel()
	known := readTree(t)
	claims := 0
	for _, line := range strings.Split(readDocument(t, security).text, "\n") {
		cells := cellsOf(line)
		if len(cells) != 2 || cells[1] == "shown by" || strings.HasPrefix(cells[0], "---") {
			continue
		}
		claims++
		shown := codeSpan().FindAllStringSubmatch(cells[1], -1)
		if len(shown) == 0 {
			t.Errorf("nothing shows the claim %q", cells[0])
		}
		for _, span := range shown {
			if !known.hasTest(span[1]) {
				t.Errorf("there is no test %q, which should show: %s", span[1], cells[0])
			}
		}
	}
	if claims == 0 {
		t.Error("there are no claims")
	}
}

// Every example is shown, so that no test runs one that nobody reads.
func TestEveryExampleIsShown(t *testing.T) {
	t.Parallel()
	const folder = "examples/consumers"
	known := slices.Collect(maps.Values(shown(readDocument(t, "docs/consuming.md"))))
	err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(folder)), func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		if relative, err := filepath.Rel(root, name); err != nil || !slices.Contains(known, filepath.ToSlash(relative)) {
			t.Errorf("docs/consuming.md does not show %s", name)
		}
		return nil
	})
	if err != nil || len(known) == 0 {
		t.Errorf("%d examples, %v", len(known), err)
	}
}

// The table of leads is what the operator does: the lead of a token is never shorter than it says, and what is left is computed.
func TestTheArithmeticOfALead(t *testing.T) {
	t.Parallel()
	const request, mount = 30 * time.Second, 2 * time.Minute
	duration := func(text string) time.Duration {
		parsed, err := time.ParseDuration(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	checked := 0
	for line := range strings.Lines(readDocument(t, "docs/consuming.md").text) {
		cells := cellsOf(line)
		if len(cells) != 5 || !regexp.MustCompile(`^\d+ [hms]`).MatchString(cells[0]) {
			continue
		}
		checked++
		issued, lifetime := time.Unix(1_800_000_000, 0), duration(cells[0])
		for _, each := range []struct {
			asked      time.Duration
			lead, left string
		}{{0, cells[1], cells[2]}, {lifetime, cells[3], cells[4]}} {
			lead := duration(each.lead)
			for uid := range 100 { // the spread is earlier only, by a hash
				expiration := issued.Add(lifetime)
				got := expiration.Sub(lifecycle.RefreshTime(strconv.Itoa(uid), issued, expiration, each.asked))
				if got < lead || got > lead+(lifetime-lead)/10+time.Second {
					t.Errorf("a token of %s is refreshed %s before its end, and the table says %s", cells[0], got, each.lead)
				}
			}
			if left := lead - request - mount; left != duration(each.left) {
				t.Errorf("of %s, %s are left, and the table says %s", each.lead, left, each.left)
			}
		}
	}
	if checked == 0 {
		t.Error("there is no such table")
	}
}

// document is a Markdown file.
type document struct {
	name   string // slash-separated, relative to the root
	text   string
	prose  []text // what is outside of code blocks, line by line
	spans  []text // `code` within it
	blocks []text // whole code blocks
}

// text is a piece of a document, and the line that it begins in.
type text struct {
	line     int
	content  string
	language string // of a block
}

func codeSpan() *regexp.Regexp { return regexp.MustCompile("`([^`]+)`") }

func readDocuments(t *testing.T) []document {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(".", func(name string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(name) == ".md" && !strings.HasPrefix(name, "api"+string(filepath.Separator)) {
			names = append(names, filepath.Join(root, "docs", name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var documents []document
	for _, name := range names {
		relative, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, readDocument(t, filepath.ToSlash(relative)))
	}
	if len(documents) < 10 {
		t.Fatalf("found only %d documents", len(documents))
	}
	return documents
}

func readDocument(t *testing.T, name string) document {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return parseDocument(name, string(content))
}

func parseDocument(name, content string) document {
	parsed := document{name: name, text: content}
	var block *text
	for i, line := range strings.Split(content, "\n") {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && block == nil:
			block = &text{line: i + 1, language: language}
		case fence:
			parsed.blocks, block = append(parsed.blocks, *block), nil
		case block != nil:
			block.content += line + "\n"
		default:
			parsed.prose = append(parsed.prose, text{line: i + 1, content: line})
			for _, span := range codeSpan().FindAllStringSubmatch(line, -1) {
				parsed.spans = append(parsed.spans, text{line: i + 1, content: span[1]})
			}
		}
	}
	return parsed
}

// complaints are what is wrong with a document.
func complaints(d document, known *tree) []string {
	var all []string
	for _, check := range []func(document, *tree) []string{
		checkSpans, checkLinks, checkPaths, checkTargets, checkFlags, checkMetrics, checkNames, checkTests, checkManifests, checkShown,
	} {
		all = append(all, check(d, known)...)
	}
	return all
}

func (d document) complain(at text, format string, arguments ...any) string {
	return fmt.Sprintf("%s:%d: ", d.name, at.line) + fmt.Sprintf(format, arguments...)
}

// commands are the lines of code, with lines that go on in the next one joined.
func (d document) commands() []text {
	all := slices.Clone(d.spans)
	for _, block := range d.blocks {
		for i, line := range strings.Split(strings.ReplaceAll(block.content, "\\\n", " "), "\n") {
			all = append(all, text{line: block.line + 1 + i, content: strings.TrimSpace(line)})
		}
	}
	return all
}

// checkSpans finds an odd number of backticks: all other checks look at spans within one line.
func checkSpans(d document, _ *tree) []string {
	var all []string
	for _, line := range d.prose {
		if strings.Count(line.content, "`")%2 != 0 {
			all = append(all, d.complain(line, "a code span goes over the end of the line"))
		}
	}
	return all
}

func checkLinks(d document, _ *tree) []string {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	var all []string
	for _, line := range d.prose {
		for _, found := range link.FindAllStringSubmatch(line.content, -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := d.name
			if target != "" {
				file = path.Join(path.Dir(d.name), target)
			}
			switch {
			case !exists(file):
				all = append(all, d.complain(line, "there is no %s", found[1]))
			case anchor != "" && !hasHeading(file, anchor):
				all = append(all, d.complain(line, "%s has no heading #%s", file, anchor))
			}
		}
	}
	return all
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

func hasHeading(file, anchor string) bool {
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		return false
	}
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	return slices.ContainsFunc(parseDocument(file, string(content)).prose, func(line text) bool {
		title, is := strings.CutPrefix(strings.TrimLeft(line.content, "#"), " ")
		title = dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		return is && strings.HasPrefix(line.content, "#") && strings.ReplaceAll(title, " ", "-") == anchor
	})
}

// checkPaths looks at every code span that has the form of a path, and at those words of commands that begin with a folder
// of the root.
func checkPaths(d document, known *tree) []string {
	shape := regexp.MustCompile(`^\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*/?$`)
	file := regexp.MustCompile(`\.(go|md|ya?ml|sh|mod|sum)$`)
	domain := regexp.MustCompile(`^[^/]+\.[^/]+/`) // a label, an annotation, an import
	var all []string
	for _, command := range d.commands() {
		words := strings.Fields(command.content)
		for _, word := range words {
			word = strings.TrimPrefix(word, "./")
			isPath := shape.MatchString(word) && !domain.MatchString(word) && !known.imports[word] &&
				(strings.Contains(word, "/") || file.MatchString(word))
			first, _, _ := strings.Cut(word, "/")
			strict := len(words) == 1 && slices.ContainsFunc(d.spans, func(s text) bool { return s == command })
			if first == "bin" { // what is built: it is there, or it is not yet
				continue
			}
			if isPath && (strict || strings.Contains(word, "/") && known.folders[first]) && !exists(word) {
				all = append(all, d.complain(command, "there is no %s", word))
			}
		}
	}
	return all
}

func checkTargets(d document, known *tree) []string {
	call := regexp.MustCompile(`^make ([a-z][a-z-]*)(.*)$`)
	variable := regexp.MustCompile(`\b([A-Z_]+)=`)
	var all []string
	for _, command := range d.commands() {
		found := call.FindStringSubmatch(command.content)
		if found == nil {
			continue
		}
		if !known.targets[found[1]] {
			all = append(all, d.complain(command, "there is no make %s", found[1]))
		}
		for _, name := range variable.FindAllStringSubmatch(found[2], -1) {
			if !strings.Contains(known.makefile, name[1]) {
				all = append(all, d.complain(command, "the Makefile knows no %s", name[1]))
			}
		}
	}
	return all
}

func checkFlags(d document, known *tree) []string {
	others := []string{"kubectl", "curl", "docker", "go", "git", "helm", "skopeo"}
	shape := regexp.MustCompile(`^--[A-Za-z]`)
	var all []string
	for _, command := range d.commands() {
		words := strings.Fields(command.content)
		if len(words) > 0 && slices.Contains(others, words[0]) {
			continue
		}
		for _, word := range words {
			name, _, _ := strings.Cut(strings.Trim(word, `"',[]`), "=")
			flags := known.flags
			if words[0] == "bin/demo/provider" {
				flags = known.providerFlags
			}
			if shape.MatchString(name) && !flags[name] && !known.pluginFlags[name] {
				all = append(all, d.complain(command, "there is no flag %s", name))
			}
		}
	}
	return all
}

func checkMetrics(d document, known *tree) []string {
	var all []string
	for i, line := range strings.Split(d.text, "\n") {
		for _, name := range regexp.MustCompile(`\boauth_operator_[a-z_]+`).FindAllString(line, -1) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !known.metrics[name] && !known.metrics[base] {
				all = append(all, d.complain(text{line: i + 1}, "there is no metric %s", name))
			}
		}
	}
	return all
}

// checkNames wants every code span in camel case to be a reason, a condition, a value, or a name of the sources.
func checkNames(d document, known *tree) []string {
	shape := regexp.MustCompile(`^[A-Z]+[a-z][A-Za-z]*(\.[A-Z][A-Za-z]*)?(\(\))?$`)
	others := []string{"Secret", "True", "False", "Bearer", "GetBody", "Dockerfile"}
	var all []string
	for _, span := range d.spans {
		for name := range strings.SplitSeq(strings.TrimSuffix(span.content, "()"), ".") {
			if shape.MatchString(span.content) && !known.names[name] && !slices.Contains(others, name) && !known.hasTest(name) {
				all = append(all, d.complain(span, "the sources have no %s", name))
			}
		}
	}
	return all
}

func checkTests(d document, known *tree) []string {
	var all []string
	for i, line := range strings.Split(d.text, "\n") {
		for _, id := range regexp.MustCompile(`\bS\d{2}\b`).FindAllString(line, -1) {
			if !known.hasTest(id) {
				all = append(all, d.complain(text{line: i + 1}, "there is no test of %s", id))
			}
		}
	}
	return all
}

// shown are the files that a document shows, by the line of the comment that announces each: <!-- the file NAME -->.
func shown(d document) map[int]string {
	announcement := regexp.MustCompile(`^<!-- the file (\S+) -->$`)
	all := map[int]string{}
	for _, line := range d.prose {
		if found := announcement.FindStringSubmatch(line.content); found != nil {
			all[line.line] = found[1]
		}
	}
	return all
}

// checkShown wants a file that is announced to be the code block that follows, letter by letter.
func checkShown(d document, _ *tree) []string {
	var all []string
	for line, name := range shown(d) {
		at := text{line: line}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			all = append(all, d.complain(at, "there is no %s to show", name))
			continue
		}
		block := slices.IndexFunc(d.blocks, func(block text) bool { return block.line == line+1 })
		if block < 0 || d.blocks[block].content != string(content) {
			all = append(all, d.complain(at, "the block below is not %s as it is now", name))
		}
	}
	return all
}

// checkManifests reads manifests of our kinds as strictly as kubectl does.
func checkManifests(d document, _ *tree) []string {
	var all []string
	for _, block := range d.blocks {
		if block.language != "yaml" {
			continue
		}
		for manifest := range strings.SplitSeq(block.content, "\n---\n") {
			if err := readManifest(manifest); err != nil {
				all = append(all, d.complain(block, "a manifest cannot be read: %v", err))
			}
		}
	}
	return all
}

func readManifest(manifest string) error {
	var into any = &map[string]any{}
	switch {
	case strings.Contains("\n"+manifest, "\nkind: OAuthClient\n"):
		into = &v1alpha1.OAuthClient{}
	case strings.Contains("\n"+manifest, "\nkind: ConnectedAccount\n"):
		into = &v1alpha1.ConnectedAccount{}
	}
	text, err := yaml.YAMLToJSONStrict([]byte(manifest))
	if err != nil {
		return err
	}
	unknown, err := strictjson.UnmarshalStrict(text, into)
	return errors.Join(append(unknown, err)...)
}

// rows are the rows of the document's tables whose first cell is one code span, by what is in it.
func rows(d document) map[string][]string {
	all := map[string][]string{}
	for _, line := range d.prose {
		cells := cellsOf(line.content)
		if len(cells) > 1 && strings.HasPrefix(cells[0], "`") && strings.Count(cells[0], "`") == 2 {
			all[strings.Trim(cells[0], "`")] = cells
		}
	}
	return all
}

// cellsOf are the cells of a row of a table; none, if the line is not one.
func cellsOf(line string) []string {
	if !strings.HasPrefix(line, "|") {
		return nil
	}
	cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

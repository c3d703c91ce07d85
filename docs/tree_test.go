package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tree is what the sources have.
type tree struct {
	makefile string
	// targets are those of the Makefile; folders those of the root.
	targets, folders map[string]bool
	// flags are the operator's, pluginFlags those of kubectl oauth, and providerFlags those of the tests' provider, with two dashes.
	flags, pluginFlags, providerFlags map[string]bool
	metrics                           map[string]bool
	reasons                           map[string]bool
	// names are declared in api, internal and test, or are values of constants there; imports are paths of packages.
	names, imports map[string]bool
	// tests are names and comments of test functions, and all texts in test files: names of specs, entries and subtests.
	tests map[string]bool
}

// hasTest looks for a test by its id, such as S01 or H53, or by its whole name.
func (k *tree) hasTest(name string) bool {
	if !regexp.MustCompile(`^[HS]\d{2}$`).MatchString(name) {
		return k.tests[name]
	}
	id := regexp.MustCompile(`\b` + name + `\b|^Test` + name)
	for text := range k.tests {
		if id.MatchString(text) {
			return true
		}
	}
	return false
}

func readTree(t *testing.T) *tree {
	t.Helper()
	known := &tree{
		targets: map[string]bool{}, folders: map[string]bool{}, flags: map[string]bool{}, pluginFlags: map[string]bool{}, providerFlags: map[string]bool{}, metrics: map[string]bool{},
		reasons: map[string]bool{}, names: map[string]bool{}, imports: map[string]bool{}, tests: map[string]bool{},
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	known.makefile = string(makefile)
	for _, found := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(known.makefile, -1) {
		known.targets[found[1]] = true
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains([]string{"bin", ".git"}, entry.Name()) {
			continue
		}
		known.folders[entry.Name()] = true
		if err := filepath.WalkDir(filepath.Join(root, entry.Name()), known.visit); err != nil {
			t.Fatal(err)
		}
	}
	return known
}

// visit takes up one file of the sources. Tests of the documents are no source of what exists.
func (k *tree) visit(name string, entry os.DirEntry, err error) error {
	folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(name), root+string(filepath.Separator)))
	if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" || folder == "docs" {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, imported := range file.Imports {
		if spelt, err := strconv.Unquote(imported.Path.Value); err == nil {
			k.imports[spelt] = true
		}
	}
	switch {
	case strings.HasSuffix(name, "_test.go"):
		k.takeTests(file)
	case folder == "cmd/oauth-operator":
		takeFlags(file, k.flags)
	case folder == "internal/plugin":
		k.takePluginFlags(file)
		k.takeNames(file, folder)
	case folder == "test/provider/cmd/provider":
		takeFlags(file, k.providerFlags)
	case strings.HasPrefix(folder, "api/"), strings.HasPrefix(folder, "internal/"), strings.HasPrefix(folder, "test/"):
		k.takeNames(file, folder)
	}
	return nil
}

func (k *tree) takeTests(file *ast.File) {
	for _, declaration := range file.Decls {
		function, is := declaration.(*ast.FuncDecl)
		if is && regexp.MustCompile(`^(Test|Fuzz)`).MatchString(function.Name.Name) {
			k.tests[function.Name.Name] = true
			k.tests[function.Doc.Text()] = true
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if text, is := literal(node); is {
			k.tests[text] = true
		}
		return true
	})
}

// takeFlags looks for calls such as flags.BoolVar(&to, "name", false, "usage").
func takeFlags(file *ast.File, into map[string]bool) {
	const least = 3 // name, default and usage
	ast.Inspect(file, func(node ast.Node) bool {
		call, is := node.(*ast.CallExpr)
		if !is || len(call.Args) < least {
			return true
		}
		method, is := call.Fun.(*ast.SelectorExpr)
		if !is {
			return true
		}
		if on, is := method.X.(*ast.Ident); !is || on.Name != "flags" {
			return true
		}
		for _, argument := range call.Args {
			if name, is := literal(argument); is {
				into["--"+name] = true
				break
			}
		}
		return true
	})
	for _, imported := range file.Imports {
		if strings.HasSuffix(imported.Path.Value, `/pkg/client/config"`) {
			into["--kubeconfig"] = true // that package registers it
		}
	}
}

// takePluginFlags looks for calls such as command.Flags().BoolVarP(&to, "name", "n", false, "usage").
func (k *tree) takePluginFlags(file *ast.File) {
	declares := regexp.MustCompile(`^(Bool|String|StringSlice|Duration)VarP?$`)
	ast.Inspect(file, func(node ast.Node) bool {
		call, is := node.(*ast.CallExpr)
		if !is {
			return true
		}
		if method, is := call.Fun.(*ast.SelectorExpr); is && declares.MatchString(method.Sel.Name) {
			if name, is := literal(call.Args[1]); is {
				k.pluginFlags["--"+name] = true
			}
		}
		return true
	})
}

func (k *tree) takeNames(file *ast.File, folder string) {
	metric := regexp.MustCompile(`^oauth_operator_[a-z_]+$`)
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			k.names[node.Name.Name] = true
		case *ast.TypeSpec:
			k.names[node.Name.Name] = true
		case *ast.Field:
			for _, name := range node.Names {
				k.names[name.Name] = true
			}
		case *ast.ValueSpec:
			k.takeValues(node, folder)
		}
		if text, is := literal(node); is && (folder == "internal/controller" || folder == "internal/consent") && metric.MatchString(text) {
			k.metrics[text] = true
		}
		return true
	})
}

func (k *tree) takeValues(spec *ast.ValueSpec, folder string) {
	for i, name := range spec.Names {
		k.names[name.Name] = true
		if i >= len(spec.Values) {
			continue
		}
		value, is := literal(spec.Values[i])
		if !is {
			continue
		}
		k.names[value] = true
		if folder == "api/v1alpha1" && strings.HasPrefix(name.Name, "Reason") {
			k.reasons[value] = true
		}
	}
}

func literal(node ast.Node) (string, bool) {
	basic, is := node.(*ast.BasicLit)
	if !is || basic.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(basic.Value)
	return text, err == nil
}

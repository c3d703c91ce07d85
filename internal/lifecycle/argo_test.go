package lifecycle_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const argoConfig = "../../config/argocd/argocd-cm.yaml"

// argoScripts are the scripts in the part of Argo CD's ConfigMap that the project ships, by kind.
func argoScripts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(argoConfig)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{}
	for _, kind := range []string{"OAuthClient", "ConnectedAccount"} {
		scripts[kind] = config.Data["resource.customizations.health."+v1alpha1.Group+"_"+kind]
		if scripts[kind] == "" {
			t.Fatalf("%s has no script for %s", argoConfig, kind)
		}
	}
	return scripts
}

// argoHealth runs a script as Argo CD does, in the interpreter that it uses, with the libraries that it opens for scripts
// from its ConfigMap, and no more than a second.
func argoHealth(t *testing.T, kind string, object map[string]any) (health, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", luaValue(t, state, object))
	if err := state.DoString(argoScripts(t)[kind]); err != nil {
		t.Fatalf("the script for %s fails: %v", kind, err)
	}
	answer, is := state.Get(-1).(*lua.LTable)
	if !is {
		t.Fatalf("the script for %s returns %s", kind, state.Get(-1).Type())
	}
	health, message = answer.RawGetString("status").String(), answer.RawGetString("message").String()
	if !slices.Contains([]string{"Healthy", "Progressing", "Suspended", "Degraded", "Missing", "Unknown"}, health) {
		t.Errorf("Argo CD knows no health %q", health)
	}
	return health, message
}

func luaValue(t *testing.T, state *lua.LState, value any) lua.LValue {
	t.Helper()
	switch value := value.(type) {
	case nil:
		return lua.LNil
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		list := state.NewTable()
		for _, each := range value {
			list.Append(luaValue(t, state, each))
		}
		return list
	case map[string]any:
		table := state.NewTable()
		for name, each := range value {
			table.RawSetString(name, luaValue(t, state, each))
		}
		return table
	default:
		t.Fatalf("no value of JSON: %T", value)
		return nil
	}
}

// What an API server shows for the first moments, and what nobody should ever write, must not end a script.
func TestArgoScriptsBearAnything(t *testing.T) {
	t.Parallel()
	const waits = "the operator has not looked at it yet"
	metadata := map[string]any{"name": "acme", "generation": int64(2)}
	condition := func(kind, status, reason string) map[string]any {
		return map[string]any{"type": kind, "status": status, "reason": reason, "message": "so it is"}
	}
	status := func(generation int64, conditions ...any) map[string]any {
		return map[string]any{"observedGeneration": generation, "conditions": conditions}
	}
	for name, c := range map[string]struct {
		status          any
		health, message string
	}{
		"no status":             {nil, "Progressing", waits},
		"the default":           {map[string]any{"observedGeneration": int64(-1)}, "Progressing", waits},
		"an earlier generation": {status(1, condition("Ready", "True", "TokenValid")), "Progressing", waits},
		"no conditions":         {status(2), "Progressing", waits},
		"none of ours":          {status(2, condition("Strange", "True", "Strange")), "Progressing", waits},
		"ready":                 {status(2, condition("Ready", "True", "TokenValid")), "Healthy", "TokenValid: so it is"},
		"ready, with a trouble": {status(2, condition("Ready", "True", "RefreshTokenLost")), "Healthy", "RefreshTokenLost: so it is"},
		"unready, and no more":  {status(2, condition("Ready", "False", "Pending")), "Progressing", "Pending: so it is"},
		"unknown":               {status(2, condition("Ready", "Unknown", "Pending")), "Progressing", "Pending: so it is"},
		"waiting":               {status(2, condition("Ready", "False", "Suspended"), condition("Reconciling", "True", "Waiting")), "Suspended", "Suspended: so it is"},
		"stalled":               {status(2, condition("Ready", "False", "KeyringMissing"), condition("Stalled", "True", "KeyringMissing")), "Degraded", "KeyringMissing: so it is"},
		"not stalled any more":  {status(2, condition("Ready", "False", "Pending"), condition("Stalled", "False", "KeyringMissing")), "Progressing", "Pending: so it is"},
	} {
		for kind := range argoScripts(t) {
			object := map[string]any{"metadata": metadata}
			if c.status != nil {
				object["status"] = c.status
			}
			if health, message := argoHealth(t, kind, object); health != c.health || message != c.message {
				t.Errorf("%s, %s: %s %q, want %s %q", kind, name, health, message, c.health, c.message)
			}
		}
	}
}

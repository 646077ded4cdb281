// Renders conversations as Ollama does with the TEMPLATE of a Modelfile: reads {"modelfile", "conversations"} as JSON
// from standard input, and writes {"template", "stops", "prompts"} to standard output.
package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"text/template"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// command is a line of a Modelfile: TEMPLATE, or PARAMETER with a name.
type command struct{ name, value string }

// unquoted is a value without its quotes, and whether they are closed.
func unquoted(text string) (string, bool) {
	const triple = `"""`
	if strings.HasPrefix(text, triple) {
		if len(text) >= 6 && strings.HasSuffix(text, triple) {
			return text[3 : len(text)-3], true
		}
		return "", false
	}
	if strings.HasPrefix(text, `"`) {
		if len(text) >= 2 && strings.HasSuffix(text, `"`) {
			return text[1 : len(text)-1], true
		}
		return "", false
	}
	return text, true
}

// commands reads a Modelfile: a value goes on over the ends of lines until its quotes are closed, and loses what is
// neither printed nor white space.
func commands(modelfile string) []command {
	var found []command
	var held strings.Builder
	for _, line := range strings.SplitAfter(modelfile, "\n") {
		if held.Len() == 0 && (strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#")) {
			continue
		}
		for _, letter := range line {
			if strconv.IsPrint(letter) || strings.ContainsRune(" \t\r\n", letter) {
				held.WriteRune(letter)
			}
		}
		name, rest, _ := strings.Cut(strings.TrimLeft(held.String(), " \t"), " ")
		if strings.EqualFold(name, "parameter") {
			name, rest, _ = strings.Cut(rest, " ")
		}
		if value, closed := unquoted(strings.TrimSpace(rest)); closed {
			found = append(found, command{strings.ToLower(name), value})
			held.Reset()
		}
	}
	if held.Len() > 0 {
		panic("a value that does not end: " + held.String())
	}
	return found
}

// collated joins messages of one role that follow each other, but those of tools.
func collated(messages []message) (string, []*message) {
	var system []string
	var joined []*message
	for i := range messages {
		if messages[i].Role == "system" {
			system = append(system, messages[i].Content)
		}
		last := len(joined) - 1
		if last >= 0 && joined[last].Role == messages[i].Role && messages[i].Role != "tool" {
			joined[last].Content += "\n\n" + messages[i].Content
		} else {
			joined = append(joined, &messages[i])
		}
	}
	return strings.Join(system, "\n\n"), joined
}

func main() {
	var asked struct {
		Modelfile     string      `json:"modelfile"`
		Conversations [][]message `json:"conversations"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	answer := struct {
		Template string   `json:"template"`
		Stops    []string `json:"stops"`
		Prompts  []string `json:"prompts"`
	}{}
	for _, one := range commands(asked.Modelfile) {
		switch one.name {
		case "template":
			answer.Template = one.value
		case "stop":
			answer.Stops = append(answer.Stops, one.value)
		}
	}
	functions := template.FuncMap{"json": func(value any) string { text, _ := json.Marshal(value); return string(text) }}
	parsed := template.Must(template.New("").Option("missingkey=zero").Funcs(functions).Parse(answer.Template))
	for _, messages := range asked.Conversations {
		system, joined := collated(messages)
		var prompt strings.Builder
		data := map[string]any{"System": system, "Messages": joined, "Tools": nil, "Response": "", "Think": false}
		if err := parsed.Execute(&prompt, data); err != nil {
			panic(err)
		}
		answer.Prompts = append(answer.Prompts, prompt.String())
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		panic(err)
	}
}

.DEFAULT_GOAL := help
SPEC ?=
FUZZTIME ?= 20s
SOAK ?= 1h

.PHONY: help
help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## the main job: two registries and a prompt
	go run ./examples/multi-service

.PHONY: test
test: ## all tests of all modules, with the race detector
	go test -race -shuffle=on -timeout 20m work

.PHONY: test-all
test-all: ## all tests of all modules, against real servers too: NATS, Redis, RabbitMQ, Postgres
	LEAT_BROKERS=required go test -timeout 40m work

.PHONY: conformance
conformance: ## the protocol's vectors; SPEC=DIR for those of a spec checkout
	@go run ./internal/conformance/cmd/conformance $(if $(SPEC),-spec '$(SPEC)')

.PHONY: lint
lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not gofmt-ed'; exit 1; }
	go vet work
	GOWORK=off go build -C .ci/tools -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./... ./examples/... ./bench/... ./brokers/...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	./.ci/fuzz $(FUZZTIME)

.PHONY: cover
cover: ## coverage per package
	go test -cover ./... | awk '{print}'

.PHONY: soak
soak: ## everything at once for SOAK, default an hour: a table, and a verdict
	go run ./bench/cmd/leatsoak -for $(SOAK)

.PHONY: bench
bench: ## leat beside its peers, as tables
	go run ./bench/cmd/leatbench table

.PHONY: bench-ratios
bench-ratios: ## name, value, bound, ok or short: one ratio a line; ONLY=calls, cores or scale for a part
	@go run ./bench/cmd/leatbench ratios $(if $(ONLY),-only $(ONLY))

.PHONY: bench-brokers
bench-brokers: ## fleets over brokers; URLS="redis://… nats://…", PAGE=docs/performance.md to fill that in
	@go run ./bench/cmd/leatbench brokers $(if $(PAGE),-page '$(PAGE)') $(URLS)

.PHONY: bench-charts
bench-charts: ## measure, and draw docs/charts and docs/performance.md
	go run ./bench/cmd/leatbench table -json docs/charts/results.json
	go run ./bench/cmd/leatbench ratios >docs/charts/ratios.tsv
	go run ./bench/cmd/leatbench charts -page docs/performance.md -ratios docs/charts/ratios.tsv

.PHONY: ci
ci: ## everything that CI runs
	./.ci/run

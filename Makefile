# One command each. All use the environment that ./test makes; `make check` is the quick round.

.PHONY: check lint types docs unit test golden format startup engine

check: ## everything that takes seconds: lint, types, generated pages, unit tests
	./test lint && ./test types && ./test docs && ./test unit -q

lint: ## ruff, import contracts, what scripts/house.py counts, shellcheck
	./test lint

types: ## mypy --strict
	./test types

unit: ## unit and golden tests
	./test unit

test: ## everything, real vLLM and Docker included
	./test

docs: ## writes docs/reference, the chart's values and the dashboards from the code
	./test run python scripts/reference.py
	./test run python scripts/chart.py
	./test run python -m scripts.dashboards

golden: ## writes tests/golden from what the tests produce now; read the diff
	./test unit -q --update-golden

format: ## formats and sorts imports
	./test run ruff format . && ./test run ruff check --fix .

startup: ## how long the command line takes to start
	./test run python benchmarks/startup/measure.py

engine: ## takes a vLLM release into deploy/engines (VERSION=0.33.0); prints what changes for users
	@./test run python scripts/engine.py $(or $(VERSION),"")
	@./test run python scripts/reference.py

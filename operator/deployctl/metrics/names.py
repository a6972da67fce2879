"""What vLLM calls its metrics, version by version. Newest name first; an old one is a fallback.

Read from the releases' own `v1/metrics/loggers.py`. Before 0.9.2 the cache's metrics began
with `gpu_`; from 0.9.2 to 0.11 both names are exported, so that one must be chosen, not added.
`time_per_output_token_seconds` is `inter_token_latency_seconds` since 0.10.2 at the latest.
Names are prometheus-client's: counters without their `_total`.
"""

RUNNING = ("vllm:num_requests_running",)
WAITING = ("vllm:num_requests_waiting",)
KV_CACHE_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")

PROMPT_TOKENS = ("vllm:prompt_tokens",)
GENERATION_TOKENS = ("vllm:generation_tokens",)
PREEMPTIONS = ("vllm:num_preemptions",)
PREFIX_QUERIES = ("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries")
PREFIX_HITS = ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits")
SUCCESSES = ("vllm:request_success",)

TTFT = ("vllm:time_to_first_token_seconds",)
ITL = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
E2E = ("vllm:e2e_request_latency_seconds",)
QUEUE = ("vllm:request_queue_time_seconds",)

STARTED = ("process_start_time_seconds",)  # prometheus-client's own
HTTP = "http_requests"  # prometheus-fastapi-instrumentator's, by handler, method and "5xx"

READ = (  # all of them, as lines begin
    *(*RUNNING, *WAITING, *KV_CACHE_USAGE, *PROMPT_TOKENS, *GENERATION_TOKENS, *PREEMPTIONS),
    *(*PREFIX_QUERIES, *PREFIX_HITS, *SUCCESSES, *TTFT, *ITL, *E2E, *QUEUE, *STARTED, HTTP),
)

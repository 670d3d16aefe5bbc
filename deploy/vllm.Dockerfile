# vLLM for a GPU, with our model and our way of starting it. The version is that of requirements/vllm.in.
FROM vllm/vllm-openai:v0.32.0
WORKDIR /aftercare
COPY generation generation
COPY deploy/probe.py deploy/probe.py
RUN useradd --uid 10001 --create-home aftercare
ENV PYTHONPATH=/aftercare
USER 10001
ENTRYPOINT []
CMD ["python3", "-m", "generation.serve", "--profile", "gpu", "--host", "0.0.0.0", "--port", "8084", "--exec"]

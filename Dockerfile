# docker build -t tensorpress . && docker run --rm tensorpress
# A build of PyTorch for processors alone is a tenth of the size: give the index of such builds, as
# PyTorch's own page of installation names it, by --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
ENV OMP_WAIT_POLICY=PASSIVE PIP_NO_CACHE_DIR=1 MPLBACKEND=agg
WORKDIR /opt/tensorpress
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --constraint constraints.txt '.[train,onnx,openvino]'
RUN useradd --create-home tensorpress
USER tensorpress
WORKDIR /home/tensorpress
ENTRYPOINT ["tensorpress"]
CMD ["demo"]

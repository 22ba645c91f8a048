# Bundles on a processor: no torch, no root, and no network when it runs (see docs/deployment.md).
#
#   docker build -t dinoseg .
#   docker run --rm --network none -v "$PWD/bundles/kvasir:/bundle:ro" -v "$PWD/photos:/in:ro" \
#     -v "$PWD/masks:/out" dinoseg predict /bundle /in --out /out

FROM python:3.12-slim AS build
WORKDIR /source
COPY . /source
RUN python -m venv /opt/dinoseg
RUN /opt/dinoseg/bin/python -m pip install --no-cache-dir -c constraints.txt '.[runtime,dicom,serve]'

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 dinoseg
COPY --from=build /opt/dinoseg /opt/dinoseg
ENV PATH=/opt/dinoseg/bin:$PATH
ENV DINOSEG_HOME=/home/dinoseg/.dinoseg
ENV HF_HUB_OFFLINE=1
ENV MPLCONFIGDIR=/tmp/matplotlib
USER dinoseg
WORKDIR /home/dinoseg
ENTRYPOINT ["dinoseg"]
CMD ["--help"]

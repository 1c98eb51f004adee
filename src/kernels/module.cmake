# Device sources travel inside the binary as text; NVRTC compiles them while an engine is built.
ramjet_embed(ramjet_kernels ${dir}/cuda/device *.cuh kernels/cuda/device_sources.h
  ramjet::kernels::cuda DeviceSource device_sources)

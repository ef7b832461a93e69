"""An evaluation: any clips, our profiles and generators and conventional encoders, every byte from a real file.

``systems`` names what is compared, ``sources`` reads the clips; ``plan`` cuts the work into parts, ``ours`` and
``conventional`` measure one part each with ``scoring``, ``motion`` and ``previews``; ``run`` shares the parts out and
keeps what is done; ``bdrate``, ``record`` and ``tables`` make of it what people read.
"""

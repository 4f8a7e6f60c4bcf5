from .maps import draw as draw
from .page import Image as Image
from .page import Section as Section
from .page import Table as Table
from .page import write_page as write_page
from .quality import write_quality_page as write_quality_page
from .report import report as report
